package tern.interop.peer;

import com.google.protobuf.ByteString;
import com.tencent.trpc.core.exception.TRpcException;
import com.tencent.trpc.core.rpc.RpcContext;
import java.time.Duration;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicInteger;
import org.reactivestreams.Publisher;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import tern.interop.v1.StreamsOuterClass.Order;
import tern.interop.v1.StreamsOuterClass.Piece;
import tern.interop.v1.StreamsOuterClass.Summary;

/** The service as ../proto/streams.proto describes it. */
final class StreamHandlers implements Api.Streams {

    private static final int OUT_OF_ORDER = 10_002;

    @Override
    public Mono<Summary> upload(RpcContext cx, Publisher<Piece> pieces) {
        return inOrder(pieces).collect(Summary::newBuilder, StreamHandlers::count).map(Summary.Builder::build);
    }

    @Override
    public Flux<Piece> download(RpcContext cx, Order order) {
        Flux<Piece> pieces = Flux.range(0, order.getPieces()).map(number -> piece(number, order.getBytes()));
        if (order.getFailCode() == 0) {
            return pieces;
        }
        return pieces.concatWith(Mono.error(failure(order.getFailCode(), order.getFailMessage())));
    }

    @Override
    public Flux<Piece> chat(RpcContext cx, Publisher<Piece> pieces) {
        return inOrder(pieces);
    }

    /** One piece of a download. */
    static Piece piece(int number, int bytes) {
        byte[] payload = new byte[bytes];
        Arrays.fill(payload, (byte) number);
        return Piece.newBuilder().setNumber(number).setPayload(ByteString.copyFrom(payload)).build();
    }

    /** Hands on each piece when its delay is over, and fails at the first that is not the next or says so. */
    private static Flux<Piece> inOrder(Publisher<Piece> pieces) {
        var next = new AtomicInteger();
        return Flux.from(pieces).concatMap(piece -> {
            int number = next.getAndIncrement();
            if (piece.getNumber() != number) {
                String text = "piece %d came as number %d".formatted(piece.getNumber(), number);
                return Mono.error(failure(OUT_OF_ORDER, text));
            }
            if (piece.getFailCode() != 0) {
                return Mono.error(failure(piece.getFailCode(), piece.getFailMessage()));
            }
            Mono<Piece> same = Mono.just(piece);
            return piece.getDelayMs() == 0 ? same : same.delayElement(Duration.ofMillis(piece.getDelayMs()));
        });
    }

    private static void count(Summary.Builder summary, Piece piece) {
        summary.setPieces(summary.getPieces() + 1);
        summary.setBytes(summary.getBytes() + piece.getPayload().size());
    }

    private static TRpcException failure(int code, String text) {
        return TRpcException.newBizException(code, text);
    }
}
