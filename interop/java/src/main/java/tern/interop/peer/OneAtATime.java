package tern.interop.peer;

import com.tencent.trpc.core.common.ConfigManager;
import com.tencent.trpc.core.common.config.PluginConfig;
import com.tencent.trpc.core.common.config.ProtocolConfig;
import com.tencent.trpc.core.extension.Extension;
import com.tencent.trpc.core.stream.Closeable;
import com.tencent.trpc.core.stream.transport.ClientTransport;
import com.tencent.trpc.core.stream.transport.RpcConnection;
import com.tencent.trpc.core.stream.transport.ServerTransport;
import com.tencent.trpc.core.stream.transport.codec.FrameDecoder;
import com.tencent.trpc.core.stream.transport.spi.ClientTransportFactory;
import com.tencent.trpc.core.stream.transport.spi.ServerTransportFactory;
import com.tencent.trpc.transport.netty.stream.NettyClientTransportFactory;
import com.tencent.trpc.transport.netty.stream.NettyServerTransportFactory;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufAllocator;
import java.util.function.Supplier;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;

/**
 * A transport for streams on which threads send one after the other. That of tRPC-Java 1.1.0 throws in the second of two
 * threads that send at once, so a stream breaks whenever a DATA frame meets a FEEDBACK frame.
 */
final class OneAtATime {

    /** What {@code setTransporter} takes. */
    static final String NAME = "one_at_a_time";

    private OneAtATime() {
    }

    /** Makes the transport known to the framework. */
    static void register() {
        ConfigManager manager = ConfigManager.getInstance();
        manager.registerPlugin(new PluginConfig(NAME, ServerTransportFactory.class, Server.class));
        manager.registerPlugin(new PluginConfig(NAME, ClientTransportFactory.class, Client.class));
    }

    /** For servers. */
    @Extension(NAME)
    public static final class Server implements ServerTransportFactory {

        @Override
        public ServerTransport<? extends Closeable> create(ProtocolConfig config, Supplier<FrameDecoder> decoder) {
            return wrap(new NettyServerTransportFactory().create(config, decoder));
        }

        private static <T extends Closeable> ServerTransport<T> wrap(ServerTransport<T> transport) {
            return acceptor -> transport.start(connection -> acceptor.apply(new Connection(connection)));
        }
    }

    /** For clients. */
    @Extension(NAME)
    public static final class Client implements ClientTransportFactory {

        @Override
        public ClientTransport create(ProtocolConfig config, Supplier<FrameDecoder> decoder) {
            ClientTransport transport = new NettyClientTransportFactory().create(config, decoder);
            return () -> transport.connect().map(Connection::new);
        }
    }

    private record Connection(RpcConnection inner) implements RpcConnection {

        @Override
        public void send(ByteBuf frame) {
            synchronized (inner) {
                inner.send(frame);
            }
        }

        @Override
        public Flux<ByteBuf> receive() {
            return inner.receive();
        }

        @Override
        public ByteBufAllocator alloc() {
            return inner.alloc();
        }

        @Override
        public Mono<Void> onClose() {
            return inner.onClose();
        }

        @Override
        public void dispose() {
            inner.dispose();
        }

        @Override
        public boolean isDisposed() {
            return inner.isDisposed();
        }
    }
}
