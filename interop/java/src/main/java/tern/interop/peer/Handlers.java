package tern.interop.peer;

import com.google.protobuf.ByteString;
import com.tencent.trpc.core.exception.TRpcException;
import com.tencent.trpc.core.rpc.RpcContext;
import com.tencent.trpc.core.rpc.RpcContextValueKeys;
import com.tencent.trpc.core.rpc.def.LinkInvokeTimeout;
import com.tencent.trpc.core.utils.RpcContextUtils;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import tern.interop.v1.InteropOuterClass.UnaryRequest;
import tern.interop.v1.InteropOuterClass.UnaryResponse;

/** The service as ../proto/interop.proto describes it. */
final class Handlers {

    static final String META_PREFIX = "app-";
    static final String META_ECHO_PREFIX = "app-echo-";
    static final String META_LEFT_MS = "app-left-ms";

    /** Whether a failure is an exception that the framework does not know. */
    private final boolean uncaught;

    Handlers(boolean uncaught) {
        this.uncaught = uncaught;
    }

    /** Handlers that hold no thread while they wait. */
    Api.Async async() {
        return (cx, request) -> {
            prepare(cx);
            if (request.getDelayMs() == 0) {
                return CompletableFuture.completedFuture(answer(request));
            }
            var later = CompletableFuture.delayedExecutor(request.getDelayMs(), TimeUnit.MILLISECONDS);
            return CompletableFuture.supplyAsync(() -> answer(request), later);
        };
    }

    /** Handlers that sleep on a thread of their pool. */
    Api.Blocking blocking() {
        return (cx, request) -> {
            prepare(cx);
            try {
                Thread.sleep(request.getDelayMs());
            } catch (InterruptedException e) {
                // The pool is shut down at once.
                throw new IllegalStateException("interrupted", e);
            }
            return answer(request);
        };
    }

    /** The metadata and the attachment of the response. The framework itself sends the request's metadata back too. */
    private static void prepare(RpcContext cx) {
        cx.getReqAttachMap().forEach((key, value) -> {
            if (key.startsWith(META_PREFIX)) {
                cx.getRspAttachMap().put(META_ECHO_PREFIX + key.substring(META_PREFIX.length()), value);
            }
        });
        LinkInvokeTimeout time = RpcContextUtils.getValueMapValue(cx, RpcContextValueKeys.CTX_LINK_INVOKE_TIMEOUT);
        // The framework's word for no deadline is the longest one.
        if (time != null && time.getTimeout() < Integer.MAX_VALUE) {
            long spent = System.currentTimeMillis() - time.getStartTime();
            cx.getRspAttachMap().put(META_LEFT_MS, Long.toString(time.getLeftTimeout() - spent));
        }
        cx.setResponseUncodecDataSegment(cx.getRequestUncodecDataSegment());
    }

    private UnaryResponse answer(UnaryRequest request) {
        int code = request.getFailCode();
        if (code == 0) {
            return response(request.getPayload());
        }
        if (uncaught) {
            throw new IllegalStateException(request.getFailMessage());
        }
        throw TRpcException.newBizException(code, request.getFailMessage());
    }

    private static UnaryResponse response(ByteString payload) {
        return UnaryResponse.newBuilder().setPayload(payload).setServedBy("trpc-java").build();
    }
}
