package tern.interop.peer;

import com.google.protobuf.ByteString;
import com.tencent.trpc.proto.standard.common.TRPCProtocol.RequestProtocol;
import com.tencent.trpc.proto.standard.common.TRPCProtocol.ResponseProtocol;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;

/**
 * A client without tRPC-Java's client in it: it writes frames by hand and goes on listening after a deadline, which the
 * framework's own client never does.
 */
final class RawClient implements AutoCloseable {

    private static final int MAGIC = 0x0930;
    private static final int HEADER_BYTES = 16;
    private static final int FRAME_BYTES_MAX = 10 << 20;

    private final Socket socket = new Socket();

    RawClient(Flags.Address address, int patienceMs) throws IOException {
        socket.connect(new InetSocketAddress(address.host(), address.port()), patienceMs);
        socket.setSoTimeout(patienceMs);
        socket.setTcpNoDelay(true);
    }

    /** One response. */
    record Answer(int streamId, ResponseProtocol head, byte[] body) {
    }

    /** Writes one call of the service's method, with the id in the head alone as tRPC-Java does. */
    void send(int id, int timeoutMs, byte[] body) throws IOException {
        byte[] head = RequestProtocol.newBuilder()
                .setRequestId(id)
                .setTimeout(timeoutMs)
                .setCaller(ByteString.copyFromUtf8("trpc.interop.raw.Client"))
                .setCallee(ByteString.copyFromUtf8(Api.INTEROP))
                .setFunc(ByteString.copyFromUtf8("/" + Api.INTEROP + "/Unary"))
                .build()
                .toByteArray();
        var out = new DataOutputStream(socket.getOutputStream());
        out.writeShort(MAGIC);
        out.writeShort(0);
        out.writeInt(HEADER_BYTES + head.length + body.length);
        out.writeShort(head.length);
        out.writeInt(0);
        out.writeShort(0);
        out.write(head);
        out.write(body);
        out.flush();
    }

    /** The next unary frame. */
    Answer receive() throws IOException {
        var in = new DataInputStream(socket.getInputStream());
        int magic = in.readUnsignedShort();
        int types = in.readUnsignedShort();
        int total = in.readInt();
        int headBytes = in.readUnsignedShort();
        int streamId = in.readInt();
        in.readUnsignedShort();
        int bodyBytes = total - HEADER_BYTES - headBytes;
        if (magic != MAGIC || types != 0 || bodyBytes < 0 || total > FRAME_BYTES_MAX) {
            throw new IOException("not a unary frame: magic %#06x, types %#06x, %d bytes with a head of %d"
                    .formatted(magic, types, total, headBytes));
        }
        var head = ResponseProtocol.parseFrom(in.readNBytes(headBytes));
        return new Answer(streamId, head, in.readNBytes(bodyBytes));
    }

    @Override
    public void close() throws IOException {
        socket.close();
    }
}
