package tern.interop.peer;

import com.tencent.trpc.core.rpc.RpcContext;
import com.tencent.trpc.core.rpc.anno.TRpcMethod;
import com.tencent.trpc.core.rpc.anno.TRpcService;
import java.util.concurrent.CompletionStage;
import org.reactivestreams.Publisher;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import tern.interop.v1.InteropOuterClass.UnaryRequest;
import tern.interop.v1.InteropOuterClass.UnaryResponse;

/** What a stub generator would write: tRPC-Java reads services from annotated interfaces. */
final class Api {

    /** The service's name on the wire. */
    static final String INTEROP = "tern.interop.v1.Interop";

    private Api() {
    }

    /** The service, for handlers and callers that do not block. */
    @TRpcService(name = INTEROP)
    public interface Async {

        @TRpcMethod(name = "Unary")
        CompletionStage<UnaryResponse> unary(RpcContext cx, UnaryRequest request);
    }

    /** The same for handlers that hold a thread of their pool. */
    @TRpcService(name = INTEROP)
    public interface Blocking {

        @TRpcMethod(name = "Unary")
        UnaryResponse unary(RpcContext cx, UnaryRequest request);
    }

    /**
     * The shapes of streams. tRPC-Java serves them on a port of their own: an interface that mixes them with unary
     * methods is refused.
     */
    @TRpcService(name = "tern.interop.v1.Streams")
    public interface Streams {

        /** One answer, whose payload is all payloads in a row. */
        @TRpcMethod(name = "Collect")
        Mono<UnaryResponse> collect(RpcContext cx, Publisher<UnaryRequest> requests);

        /** An answer for each byte of the payload, with that byte. */
        @TRpcMethod(name = "Repeat")
        Flux<UnaryResponse> repeat(RpcContext cx, UnaryRequest request);

        /** An answer for each request, as the unary method gives it. */
        @TRpcMethod(name = "Chat")
        Flux<UnaryResponse> chat(RpcContext cx, Publisher<UnaryRequest> requests);
    }
}
