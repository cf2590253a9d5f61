package tern.interop.peer;

import com.google.protobuf.ByteString;
import com.tencent.trpc.core.exception.TRpcException;
import com.tencent.trpc.core.rpc.RpcClientContext;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import reactor.core.publisher.Flux;
import tern.interop.v1.InteropOuterClass.UnaryRequest;
import tern.interop.v1.InteropOuterClass.UnaryResponse;

/** The shapes of streams, against a server that was started with {@code --streams}. */
final class StreamCases {

    private static final Duration PATIENCE = Duration.ofSeconds(30);

    private StreamCases() {
    }

    static void addTo(Map<String, Cases.Case> all) {
        all.put("stream_collect", StreamCases::collect);
        all.put("stream_repeat", StreamCases::repeat);
        all.put("stream_chat", StreamCases::chat);
        all.put("stream_large", StreamCases::large);
        all.put("stream_failure", StreamCases::failure);
        all.put("stream_unknown", StreamCases::unknown);
    }

    private static Api.Streams stub(PeerClient client) {
        return client.with(Api.Streams.class, backend -> {
            // The window that it announces is its receive buffer, 65,536 bytes at least.
            backend.setReceiveBuffer(65_536);
            backend.setTransporter(OneAtATime.NAME);
        });
    }

    private static RpcClientContext cx() {
        RpcClientContext cx = new RpcClientContext();
        // For the opening alone: the framework knows no time for a stream.
        cx.setTimeoutMills(20_000);
        return cx;
    }

    private static void collect(PeerClient client) {
        List<UnaryRequest> parts = IntStream.range(0, 1_000)
                .mapToObj(number -> Cases.echo(Cases.pattern(100, number), 0))
                .toList();
        byte[] whole = parts.stream()
                .map(UnaryRequest::getPayload)
                .reduce(ByteString.EMPTY, ByteString::concat)
                .toByteArray();
        UnaryResponse response = stub(client).collect(cx(), Flux.fromIterable(parts)).block(PATIENCE);
        Cases.same(response.getPayload().toByteArray(), whole);
    }

    private static void repeat(PeerClient client) {
        byte[] payload = Cases.pattern(5_000, 41);
        List<UnaryResponse> responses = stub(client).repeat(cx(), Cases.echo(payload, 0)).collectList().block(PATIENCE);
        Cases.check(responses.size() == payload.length, "%d messages came", responses.size());
        Cases.same(joined(responses), payload);
    }

    private static void chat(PeerClient client) {
        List<UnaryRequest> requests = IntStream.range(0, 2_000)
                .mapToObj(number -> Cases.echo(Cases.pattern(200, number), 0))
                .toList();
        List<UnaryResponse> responses =
                stub(client).chat(cx(), Flux.fromIterable(requests)).collectList().block(PATIENCE);
        Cases.check(responses.size() == requests.size(), "%d messages came", responses.size());
        for (int number = 0; number < requests.size(); number++) {
            Cases.same(responses.get(number).getPayload().toByteArray(), Cases.pattern(200, number));
        }
    }

    /** Messages that are larger than the window. */
    private static void large(PeerClient client) {
        byte[] payload = Cases.pattern(300_000, 42);
        UnaryRequest request = Cases.echo(payload, 0);
        List<UnaryResponse> responses =
                stub(client).chat(cx(), Flux.just(request, request, request)).collectList().block(PATIENCE);
        Cases.check(responses.size() == 3, "%d messages came", responses.size());
        responses.forEach(response -> Cases.same(response.getPayload().toByteArray(), payload));
    }

    /** A failure of the handler is told, after what it sent before. */
    private static void failure(PeerClient client) {
        UnaryRequest failing = UnaryRequest.newBuilder().setFailCode(10_001).setFailMessage("enough").build();
        try {
            stub(client).chat(cx(), Flux.just(Cases.echo(new byte[1], 0), failing)).collectList().block(PATIENCE);
        } catch (TRpcException e) {
            // A server of tRPC-Java tells each failure by the same code, and the service's own in the text alone.
            Cases.check(e.getCode() != 0, "no code: %s", e.getMessage());
            Cases.check(e.getMessage().contains("enough"), "the text is %s", e.getMessage());
            return;
        }
        throw new AssertionError("the stream ended well");
    }

    private static void unknown(PeerClient client) {
        RpcClientContext cx = cx();
        cx.setRpcMethodName("Nope");
        try {
            stub(client).chat(cx, Flux.empty()).collectList().block(PATIENCE);
        } catch (TRpcException e) {
            // 12 from others, 999 from tRPC-Java.
            Cases.check(e.getCode() == 12 || e.getCode() == 999, "code %d: %s", e.getCode(), e.getMessage());
            return;
        }
        throw new AssertionError("the stream ended well");
    }

    private static byte[] joined(List<UnaryResponse> responses) {
        return responses.stream()
                .map(UnaryResponse::getPayload)
                .reduce(ByteString.EMPTY, ByteString::concat)
                .toByteArray();
    }
}
