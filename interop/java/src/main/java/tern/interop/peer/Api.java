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
import tern.interop.v1.StreamsOuterClass.Order;
import tern.interop.v1.StreamsOuterClass.Piece;
import tern.interop.v1.StreamsOuterClass.Summary;

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

        /** Counts pieces. */
        @TRpcMethod(name = "Upload")
        Mono<Summary> upload(RpcContext cx, Publisher<Piece> pieces);

        /** Sends pieces. */
        @TRpcMethod(name = "Download")
        Flux<Piece> download(RpcContext cx, Order order);

        /** Returns each piece as it came. */
        @TRpcMethod(name = "Chat")
        Flux<Piece> chat(RpcContext cx, Publisher<Piece> pieces);
    }
}
