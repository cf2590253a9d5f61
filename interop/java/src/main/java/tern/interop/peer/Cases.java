package tern.interop.peer;

import com.google.protobuf.ByteString;
import com.tencent.trpc.core.common.config.BackendConfig;
import com.tencent.trpc.core.exception.ErrorCode;
import com.tencent.trpc.core.exception.TRpcException;
import com.tencent.trpc.core.rpc.RpcClientContext;
import com.tencent.trpc.core.utils.SeqUtils;
import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import tern.interop.v1.InteropOuterClass.UnaryRequest;
import tern.interop.v1.InteropOuterClass.UnaryResponse;

/** What the client checks. README.md has a line for each. */
final class Cases {

    /** One of them. It throws if what it checks does not hold. */
    interface Case {

        void run(PeerClient client) throws Exception;
    }

    static final Map<String, Case> ALL = new LinkedHashMap<>();

    static {
        ALL.put("empty", payload(0));
        ALL.put("small", client -> comesBack(client, pattern(32, 32)));
        ALL.put("large", payload(1 << 20));
        ALL.put("nearly_the_longest", payload((10 << 20) - 256));
        ALL.put("too_long", Cases::tooLong);
        ALL.put("served_by", Cases::servedBy);
        ALL.put("business_error", businessError(10_001, "balance too low: ünïcödé"));
        ALL.put("business_error_negative", businessError(-7, "below zero"));
        ALL.put("unknown_method", unknown(cx -> cx.setRpcMethodName("Nope")));
        ALL.put("unknown_service", unknown(cx -> cx.setRpcServiceName("tern.interop.v1.Nope")));
        ALL.put("client_timeout", Cases::clientTimeout);
        ALL.put("deadline_on_the_wire", Cases::deadlineOnTheWire);
        ALL.put("server_timeout_reported", Cases::serverTimeoutReported);
        ALL.put("metadata", Cases::metadata);
        ALL.put("long_metadata", Cases::longMetadata);
        ALL.put("too_long_metadata", Cases::tooLongMetadata);
        ALL.put("attachment", Cases::attachment);
        ALL.put("gzip", packed("gzip", 200 << 10));
        ALL.put("gzip_small", packed("gzip", 10));
        ALL.put("gzip_empty", packed("gzip", 0));
        ALL.put("snappy_2", packed("snappy", 200 << 10));
        ALL.put("snappy_2_small", packed("snappy", 10));
        ALL.put("json", Cases::json);
        ALL.put("concurrent", Cases::concurrent);
        ALL.put("held", Cases::held);
        ALL.put("idle_reuse", Cases::idleReuse);
        ALL.put("oneway", Cases::oneWay);
        ALL.put("id_wrap", Cases::idWrap);
        StreamCases.addTo(ALL);
    }

    /** What a server of tRPC-Java cannot pass. */
    static final Set<String> NOT_FOR_JAVA = Set.of("server_timeout_reported", "long_metadata");

    /** Streams are no part of every server, and what is too long is for those who look at the bytes. */
    static final Set<String> ONLY_IF_NAMED =
            Set.of("too_long_metadata", "stream_upload", "stream_download", "stream_chat", "stream_large",
                    "stream_nothing", "stream_failure", "stream_unknown");

    private Cases() {
    }

    /** {@code length} bytes without a short period, different for each {@code seed}. */
    static byte[] pattern(int length, int seed) {
        byte[] bytes = new byte[length];
        int state = seed * 0x9E37_79B1 + 1;
        for (int at = 0; at < length; at++) {
            state = state * 1_664_525 + 1_013_904_223;
            bytes[at] = (byte) (state >>> 24);
        }
        return bytes;
    }

    static void check(boolean holds, String otherwise, Object... details) {
        if (!holds) {
            throw new AssertionError(otherwise.formatted(details));
        }
    }

    static UnaryRequest echo(byte[] payload, int delayMs) {
        return UnaryRequest.newBuilder().setPayload(ByteString.copyFrom(payload)).setDelayMs(delayMs).build();
    }

    static void same(byte[] back, byte[] sent) {
        check(back.length == sent.length, "%d payload bytes came back, %d were sent", back.length, sent.length);
        int at = Arrays.mismatch(back, sent);
        check(at < 0, "payload byte %d is another one", at);
    }

    private static void comesBack(PeerClient client, byte[] payload) throws Exception {
        same(client.call(echo(payload, 0)).payload(), payload);
    }

    private static RpcClientContext within(int timeoutMs) {
        RpcClientContext cx = new RpcClientContext();
        cx.setTimeoutMills(timeoutMs);
        return cx;
    }

    private static Case payload(int length) {
        return client -> {
            byte[] payload = pattern(length, length);
            same(client.call(within(20_000), echo(payload, 0)).payload(), payload);
        };
    }

    /** The client sends it, and the server ends the connection. */
    private static void tooLong(PeerClient client) throws Exception {
        TRpcException error = client.failure(within(500), echo(pattern(10 << 20, 12), 0));
        // A write that fails is told at once; a call that was written before the end waits for its own time.
        int code = error.getCode();
        check(code == ErrorCode.TRPC_CLIENT_NETWORK_ERR || code == ErrorCode.TRPC_CLIENT_INVOKE_TIMEOUT_ERR,
                "code %d: %s", code, error.getMessage());
        aliveSoon(client);
    }

    /** Calls until a call works: what is left of a connection may fail one more. */
    private static void aliveSoon(PeerClient client) throws Exception {
        for (int attempt = 1; ; attempt++) {
            try {
                comesBack(client, pattern(8, 13));
                return;
            } catch (TRpcException e) {
                if (attempt == 5) {
                    throw e;
                }
            }
        }
    }

    private static void servedBy(PeerClient client) throws Exception {
        String name = client.call(UnaryRequest.getDefaultInstance()).message().getServedBy();
        check(!name.isEmpty(), "served_by is empty");
    }

    private static Case businessError(int code, String text) {
        return client -> {
            UnaryRequest request = UnaryRequest.newBuilder().setFailCode(code).setFailMessage(text).build();
            TRpcException error = client.wantFailure(new RpcClientContext(), request, 0, code);
            check(error.getMessage().equals(text), "the text is %s", error.getMessage());
            comesBack(client, pattern(8, 1));
        };
    }

    private static Case unknown(Consumer<RpcClientContext> change) {
        return client -> {
            RpcClientContext cx = new RpcClientContext();
            change.accept(cx);
            client.wantFailure(cx, echo(pattern(8, 2), 0), ErrorCode.TRPC_SERVER_NOFUNC_ERR, 0);
            comesBack(client, pattern(8, 3));
        };
    }

    private static void clientTimeout(PeerClient client) throws Exception {
        long start = System.nanoTime();
        UnaryRequest request = echo(pattern(16, 4), 1000);
        TRpcException error = client.failure(within(100), request);
        // Its timer has ticks of 10 ms, so a server that answers at the deadline can be ahead of it.
        int code = error.getCode();
        check(code == ErrorCode.TRPC_CLIENT_INVOKE_TIMEOUT_ERR || code == 24, "code %d: %s", code, error.getMessage());
        long tookMs = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - start);
        check(tookMs >= 99 && tookMs < 800, "the call took %d ms", tookMs);
        comesBack(client, pattern(16, 5));
        // By then a server that answers late has done so.
        Thread.sleep(1100 - Math.min(tookMs, 1000));
        comesBack(client, pattern(16, 6));
    }

    private static void deadlineOnTheWire(PeerClient client) throws Exception {
        byte[] text = client.call(within(700), UnaryRequest.getDefaultInstance()).metadata(Handlers.META_LEFT_MS);
        check(text != null, "no %s in the response", Handlers.META_LEFT_MS);
        long left = Long.parseLong(new String(text, StandardCharsets.US_ASCII));
        check(left > 0 && left <= 700, "%d ms of 700 were left", left);
    }

    private static void serverTimeoutReported(PeerClient client) throws Exception {
        try (RawClient raw = new RawClient(client.address, client.callTimeoutMs)) {
            raw.send(77, 100, echo(pattern(16, 7), 600).toByteArray());
            RawClient.Answer answer = raw.receive();
            int ret = answer.head().getRet();
            check(answer.head().getRequestId() == 77, "the answer is to %d", answer.head().getRequestId());
            check(ret == 24 || ret == 21, "ret %d, 24 or 21 were expected", ret);
            check(answer.body().length == 0, "ret %d with a body of %d bytes", ret, answer.body().length);
        }
    }

    private static void metadata(PeerClient client) throws Exception {
        Map<String, byte[]> sent = Map.of(
                "text", "plain text, ünïcödé".getBytes(StandardCharsets.UTF_8),
                "bin", new byte[] {0x00, (byte) 0xff, (byte) 0x80, 0x0a},
                "empty", new byte[0]);
        RpcClientContext cx = new RpcClientContext();
        sent.forEach((name, value) -> cx.getReqAttachMap().put(Handlers.META_PREFIX + name, value));
        PeerClient.Reply reply = client.call(cx, UnaryRequest.getDefaultInstance());
        sent.forEach((name, value) -> {
            byte[] back = reply.metadata(Handlers.META_ECHO_PREFIX + name);
            check(Arrays.equals(back, value), "%s is %s", name, Arrays.toString(back));
        });
        // What was not sent must not come back.
        PeerClient.Reply next = client.call(UnaryRequest.getDefaultInstance());
        sent.keySet().forEach(name -> {
            byte[] back = next.metadata(Handlers.META_ECHO_PREFIX + name);
            check(back == null, "%s appeared in a call without metadata", name);
        });
    }

    private static void longMetadata(PeerClient client) throws Exception {
        byte[] value = pattern(60_000, 14);
        RpcClientContext cx = new RpcClientContext();
        cx.getReqAttachMap().put(Handlers.META_PREFIX + "long", value);
        PeerClient.Reply reply = client.call(cx, UnaryRequest.getDefaultInstance());
        byte[] back = reply.metadata(Handlers.META_ECHO_PREFIX + "long");
        check(Arrays.equals(back, value), "another value came back");
    }

    /** The framework does not refuse what has no place in a head. */
    private static void tooLongMetadata(PeerClient client) throws Exception {
        RpcClientContext cx = within(1_000);
        cx.getReqAttachMap().put("long", pattern(70_000, 22));
        client.call(cx, UnaryRequest.getDefaultInstance());
    }

    /** A server need not return it, but the message beside it is whole, and what comes back is what was sent. */
    private static void attachment(PeerClient client) throws Exception {
        byte[] payload = pattern(100, 15);
        byte[] attachment = pattern(5_000, 16);
        RpcClientContext cx = new RpcClientContext();
        cx.setRequestUncodecDataSegment(attachment);
        PeerClient.Reply reply = client.call(cx, echo(payload, 0));
        same(reply.payload(), payload);
        byte[] back = reply.cx().getResponseUncodecDataSegment();
        check(back == null || Arrays.equals(back, attachment), "another attachment came back");
        comesBack(client, pattern(8, 17));
    }

    /** Packs whatever the size. */
    private static Case packed(String compressor, int length) {
        return client -> {
            Api.Async stub = client.with(Api.Async.class, backend -> {
                backend.setCompressor(compressor);
                backend.setCompressMinBytes(1);
            });
            byte[] words = "compressible ".repeat(length / 13 + 1).getBytes(StandardCharsets.US_ASCII);
            for (byte[] payload : List.of(Arrays.copyOf(words, length), pattern(length, 18))) {
                same(client.call(stub, new RpcClientContext(), echo(payload, 0)).payload(), payload);
            }
        };
    }

    private static void json(PeerClient client) throws Exception {
        Api.Async stub = client.with(Api.Async.class, Cases::asJson);
        for (int length : new int[] {0, 1, 100_000}) {
            byte[] payload = pattern(length, 19);
            same(client.call(stub, new RpcClientContext(), echo(payload, 1)).payload(), payload);
        }
    }

    private static void asJson(BackendConfig backend) {
        backend.setSerialization("json");
    }

    private static void concurrent(PeerClient client) throws Exception {
        Random random = new Random(1);
        List<byte[]> payloads = new ArrayList<>();
        List<CompletableFuture<byte[]>> calls = new ArrayList<>();
        List<Integer> order = new ArrayList<>();
        for (int number = 0; number < 1_000; number++) {
            byte[] payload = pattern(16 + random.nextInt(1_000), 1_000 + number);
            payloads.add(payload);
            int mine = number;
            calls.add(client.start(within(20_000), echo(payload, random.nextInt(21))).thenApply(reply -> {
                synchronized (order) {
                    order.add(mine);
                }
                return reply.getPayload().toByteArray();
            }));
        }
        for (int number = 0; number < calls.size(); number++) {
            same(calls.get(number).get(20, TimeUnit.SECONDS), payloads.get(number));
        }
        List<Integer> sorted = order.stream().sorted().toList();
        check(!order.equals(sorted), "no answer overtook another");
    }

    /** A server that is told to end meanwhile answers them all the same. */
    private static void held(PeerClient client) throws Exception {
        List<CompletableFuture<UnaryResponse>> calls = new ArrayList<>();
        for (int number = 0; number < 20; number++) {
            calls.add(client.start(within(20_000), echo(pattern(16, number), 700)));
        }
        for (int number = 0; number < calls.size(); number++) {
            UnaryResponse response = calls.get(number).get(20, TimeUnit.SECONDS);
            same(response.getPayload().toByteArray(), pattern(16, number));
        }
    }

    private static void idleReuse(PeerClient client) throws Exception {
        comesBack(client, pattern(16, 8));
        Thread.sleep(300);
        comesBack(client, pattern(16, 9));
    }

    private static void oneWay(PeerClient client) throws Exception {
        RpcClientContext cx = new RpcClientContext();
        cx.setOneWay(true);
        client.start(cx, echo(pattern(16, 10), 0));
        comesBack(client, pattern(16, 11));
        // One that fails: whatever the server makes of it, later calls work.
        RpcClientContext lost = new RpcClientContext();
        lost.setOneWay(true);
        lost.setRpcMethodName("Nope");
        client.start(lost, echo(pattern(16, 20), 0));
        comesBack(client, pattern(16, 21));
    }

    /** Its ids have 31 bits and go on with 0. */
    private static void idWrap(PeerClient client) throws Exception {
        Field field = SeqUtils.class.getDeclaredField("INTEGER_SEQ");
        field.setAccessible(true);
        ((AtomicInteger) field.get(null)).set(Integer.MAX_VALUE - 3);
        for (int number = 0; number < 8; number++) {
            comesBack(client, pattern(16, 30 + number));
        }
        int next = SeqUtils.genIntegerSeq();
        check(next >= 0 && next < 1_000_000, "the ids have not begun again: %d", next);
    }
}
