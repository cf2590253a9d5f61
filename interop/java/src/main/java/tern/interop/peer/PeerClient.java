package tern.interop.peer;

import com.tencent.trpc.core.common.config.BackendConfig;
import com.tencent.trpc.core.exception.TRpcException;
import com.tencent.trpc.core.rpc.RpcClientContext;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;
import tern.interop.v1.InteropOuterClass.UnaryRequest;
import tern.interop.v1.InteropOuterClass.UnaryResponse;

/** A client of tRPC-Java, and what runs the cases with it. */
final class PeerClient {

    private static final Set<String> WITH_VALUE = Set.of("--addr", "--connections", "--call-timeout-ms", "--case");
    private static final Set<String> SWITCHES = Set.of("--expect-deadline-answer", "--verbose");
    /** A case that takes longer has failed. */
    private static final int CASE_SECONDS = 60;

    final Flags.Address address;
    final int callTimeoutMs;
    private final int connections;
    private final List<BackendConfig> backends = new ArrayList<>();
    private final Api.Async plain;

    private PeerClient(Flags flags) throws Flags.Wrong {
        address = flags.address(null);
        callTimeoutMs = flags.number("--call-timeout-ms", 3000);
        connections = flags.number("--connections", 2);
        plain = with(Api.Async.class, backend -> { });
    }

    /** Runs the cases that are asked for. Whether all passed. */
    static boolean run(List<String> arguments, Consumer<String> out) throws Exception {
        Flags flags = new Flags(arguments, WITH_VALUE, SWITCHES);
        Map<String, Cases.Case> chosen = choose(flags);
        PeerClient client = new PeerClient(flags);
        int failed = 0;
        try {
            for (Map.Entry<String, Cases.Case> each : chosen.entrySet()) {
                String reason = client.failure(each.getValue());
                failed += reason == null ? 0 : 1;
                out.accept(reason == null ? "ok " + each.getKey() : "FAIL " + each.getKey() + ": " + reason);
            }
        } finally {
            client.backends.forEach(BackendConfig::stop);
        }
        out.accept("%d passed, %d failed".formatted(chosen.size() - failed, failed));
        return failed == 0;
    }

    private static Map<String, Cases.Case> choose(Flags flags) throws Flags.Wrong {
        Map<String, Cases.Case> chosen = new LinkedHashMap<>();
        if (!flags.has("--case")) {
            chosen.putAll(Cases.ALL);
            chosen.keySet().removeAll(Cases.ONLY_IF_NAMED);
            if (!flags.has("--expect-deadline-answer")) {
                chosen.keySet().removeAll(Cases.NOT_FOR_JAVA);
            }
            return chosen;
        }
        for (String name : flags.text("--case", "").split(",")) {
            if (!Cases.ALL.containsKey(name)) {
                throw new Flags.Wrong("no case is called " + name);
            }
            chosen.put(name, Cases.ALL.get(name));
        }
        return chosen;
    }

    /** Why the case failed; {@code null} if it passed. */
    private String failure(Cases.Case test) throws InterruptedException {
        var task = new FutureTask<>(() -> {
            test.run(this);
            return null;
        });
        var thread = new Thread(task, "case");
        thread.setDaemon(true);
        thread.start();
        try {
            task.get(CASE_SECONDS, TimeUnit.SECONDS);
            return null;
        } catch (ExecutionException e) {
            return Peer.oneLine(e.getCause());
        } catch (TimeoutException e) {
            return "not finished after " + CASE_SECONDS + " s";
        }
    }

    /** A stub of {@code api} on connections of its own, whose configuration is that of all calls but for {@code change}. */
    synchronized <T> T with(Class<T> api, Consumer<BackendConfig> change) {
        BackendConfig backend = new BackendConfig();
        backend.setNamingUrl("ip://" + address);
        backend.setRequestTimeout(callTimeoutMs);
        backend.setConnsPerAddr(connections);
        backend.setReceiveBuffer(PeerServer.BUFFER_BYTES);
        backend.setSendBuffer(PeerServer.BUFFER_BYTES);
        change.accept(backend);
        backends.add(backend);
        return backend.getProxy(api);
    }

    /** A response and what came with it. */
    record Reply(UnaryResponse message, RpcClientContext cx) {

        byte[] payload() {
            return message.getPayload().toByteArray();
        }

        /** Bytes of the metadata; {@code null} if the key is absent. */
        byte[] metadata(String key) {
            return (byte[]) cx.getRspAttachMap().get(key);
        }
    }

    Reply call(UnaryRequest request) throws Exception {
        return call(new RpcClientContext(), request);
    }

    Reply call(RpcClientContext cx, UnaryRequest request) throws Exception {
        return call(plain, cx, request);
    }

    Reply call(Api.Async stub, RpcClientContext cx, UnaryRequest request) throws Exception {
        CompletionStage<UnaryResponse> response = stub.unary(cx, request);
        try {
            return new Reply(response.toCompletableFuture().get(CASE_SECONDS, TimeUnit.SECONDS), cx);
        } catch (ExecutionException e) {
            throw cause(e);
        }
    }

    /** Starts a call and does not wait for it. */
    CompletableFuture<UnaryResponse> start(RpcClientContext cx, UnaryRequest request) {
        CompletionStage<UnaryResponse> response = plain.unary(cx, request);
        return response == null ? null : response.toCompletableFuture();
    }

    private static Exception cause(Exception e) {
        Throwable cause = e;
        while ((cause instanceof ExecutionException || cause instanceof CompletionException)
                && cause.getCause() != null) {
            cause = cause.getCause();
        }
        return cause instanceof Exception known ? known : e;
    }

    /** Calls, and wants a failure. */
    TRpcException failure(RpcClientContext cx, UnaryRequest request) throws Exception {
        try {
            call(cx, request);
        } catch (TRpcException e) {
            return e;
        }
        throw new AssertionError("the call succeeded");
    }

    /** Calls, and wants this failure: the framework's code and the service's. */
    TRpcException wantFailure(RpcClientContext cx, UnaryRequest request, int code, int bizCode) throws Exception {
        TRpcException e = failure(cx, request);
        Cases.check(e.getCode() == code && e.getBizCode() == bizCode, "code %d and %d (%s), %d and %d were expected",
                e.getCode(), e.getBizCode(), e.getMessage(), code, bizCode);
        return e;
    }
}
