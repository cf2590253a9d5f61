package tern.interop.peer;

import com.tencent.trpc.core.exception.TRpcException;
import com.tencent.trpc.core.rpc.RpcClientContext;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import reactor.core.publisher.Flux;
import tern.interop.v1.StreamsOuterClass.Order;
import tern.interop.v1.StreamsOuterClass.Piece;
import tern.interop.v1.StreamsOuterClass.Summary;

/** The shapes of streams, against the service of ../proto/streams.proto. */
final class StreamCases {

    private static final Duration PATIENCE = Duration.ofSeconds(30);

    private StreamCases() {
    }

    static void addTo(Map<String, Cases.Case> all) {
        all.put("stream_upload", client -> upload(client, 1_000, 100));
        all.put("stream_download", client -> download(client, 1_000, 500));
        all.put("stream_chat", client -> chat(client, 1_000, 200));
        all.put("stream_large", StreamCases::large);
        all.put("stream_nothing", StreamCases::nothing);
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

    private static Flux<Piece> pieces(int count, int bytes) {
        return Flux.range(0, count).map(number -> StreamHandlers.piece(number, bytes));
    }

    private static void upload(PeerClient client, int count, int bytes) {
        Summary summary = stub(client).upload(cx(), pieces(count, bytes)).block(PATIENCE);
        Cases.check(summary.getPieces() == count && summary.getBytes() == (long) count * bytes,
                "%d pieces and %d bytes were counted", summary.getPieces(), summary.getBytes());
    }

    private static Order.Builder order(int count, int bytes) {
        return Order.newBuilder().setPieces(count).setBytes(bytes);
    }

    private static void download(PeerClient client, int count, int bytes) {
        Order order = order(count, bytes).build();
        inOrder(stub(client).download(cx(), order).collectList().block(PATIENCE), count, bytes);
    }

    private static void chat(PeerClient client, int count, int bytes) {
        inOrder(stub(client).chat(cx(), pieces(count, bytes)).collectList().block(PATIENCE), count, bytes);
    }

    private static void inOrder(List<Piece> came, int count, int bytes) {
        Cases.check(came.size() == count, "%d messages came", came.size());
        for (int number = 0; number < count; number++) {
            Cases.check(came.get(number).equals(StreamHandlers.piece(number, bytes)), "message %d is another", number);
        }
    }

    /** Messages that are larger than the window. */
    private static void large(PeerClient client) {
        upload(client, 3, 300_000);
        download(client, 3, 300_000);
        chat(client, 3, 300_000);
    }

    private static void nothing(PeerClient client) {
        upload(client, 0, 0);
        download(client, 0, 0);
        chat(client, 0, 0);
    }

    /** A failure of the handler is told, behind what it sent before or in the midst of what we send. */
    private static void failure(PeerClient client) {
        Order order = order(2, 10).setFailCode(10_001).setFailMessage("quota").build();
        tellsOf("quota", stub(client).download(cx(), order));
        Piece failing = Piece.newBuilder().setNumber(1).setFailCode(-3).setFailMessage("enough").build();
        Flux<Piece> sent = Flux.concat(pieces(1, 10), Flux.just(failing), pieces(100, 10));
        tellsOf("enough", stub(client).chat(cx(), sent));
    }

    private static void tellsOf(String text, Flux<Piece> pieces) {
        try {
            pieces.collectList().block(PATIENCE);
        } catch (TRpcException e) {
            // A server of tRPC-Java tells each failure by the same code, and the service's own in the text alone.
            Cases.check(e.getCode() != 0, "no code: %s", e.getMessage());
            Cases.check(e.getMessage().contains(text), "the text is %s", e.getMessage());
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
}
