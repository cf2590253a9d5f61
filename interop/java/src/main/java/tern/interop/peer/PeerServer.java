package tern.interop.peer;

import com.tencent.trpc.core.common.ConfigManager;
import com.tencent.trpc.core.common.config.PluginConfig;
import com.tencent.trpc.core.common.config.ProviderConfig;
import com.tencent.trpc.core.common.config.ServiceConfig;
import com.tencent.trpc.core.rpc.RpcServer;
import com.tencent.trpc.core.rpc.RpcServerManager;
import com.tencent.trpc.core.worker.spi.WorkerPool;
import com.tencent.trpc.core.worker.support.thread.ThreadPoolConfig;
import com.tencent.trpc.core.worker.support.thread.ThreadWorkerPool;
import io.netty.channel.Channel;
import java.lang.reflect.Field;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;
import reactor.netty.DisposableServer;

/** A server of tRPC-Java. */
final class PeerServer {

    private static final Set<String> WITH_VALUE = Set.of(
            "--addr", "--timeout-ms", "--threads", "--queue", "--compress", "--compress-min", "--idle-ms");
    private static final Set<String> SWITCHES = Set.of("--uncaught", "--streams", "--verbose");
    /**
     * Of each socket. By default it has 16 KiB, which is less than what one segment carries on a loopback device: a frame
     * of 10 MiB then takes from seconds to a minute. Streams announce it as their window and keep the default.
     */
    static final int BUFFER_BYTES = 1 << 20;
    private static final AtomicInteger POOLS = new AtomicInteger();

    private final RpcServer server;
    private final Flags.Address address;

    private PeerServer(RpcServer server, Flags.Address address) {
        this.server = server;
        this.address = address;
    }

    /** Starts one that the framework closes when the process ends. It listens when this returns. */
    static PeerServer start(List<String> arguments) throws Exception {
        Flags flags = new Flags(arguments, WITH_VALUE, SWITCHES);
        ServiceConfig service = configure(flags);
        service.export();
        RpcServer server = RpcServerManager.getOrCreateRpcServer(service.getProtocolConfig());
        return new PeerServer(server, new Flags.Address(service.getIp(), port(server, flags.has("--streams"))));
    }

    /**
     * Starts one of many, to be closed by whoever holds it. The framework knows its servers by the address that they were
     * asked for, and all of these ask for port 0: each is taken out again before another one is started or closed.
     */
    static PeerServer startOneOfMany(List<String> arguments) throws Exception {
        synchronized (PeerServer.class) {
            PeerServer started = start(arguments);
            RpcServerManager.remove(started.server.getProtocolConfig());
            return started;
        }
    }

    void close() {
        synchronized (PeerServer.class) {
            server.close();
        }
    }

    Flags.Address address() {
        return address;
    }

    private static ServiceConfig configure(Flags flags) throws Flags.Wrong {
        Flags.Address address = flags.address("127.0.0.1:0");
        ServiceConfig service = new ServiceConfig();
        service.setName("trpc.interop.java.Interop");
        service.setIp(address.host());
        service.setPort(address.port());
        if (flags.has("--streams")) {
            service.setTransporter(OneAtATime.NAME);
        } else {
            service.setReceiveBuffer(BUFFER_BYTES);
            service.setSendBuffer(BUFFER_BYTES);
        }
        if (flags.has("--timeout-ms")) {
            service.setRequestTimeout(flags.number("--timeout-ms", 0));
        }
        if (flags.has("--idle-ms")) {
            service.setIdleTimeout(flags.number("--idle-ms", 0));
        }
        if (flags.has("--compress")) {
            service.setCompressor(flags.text("--compress", ""));
        }
        if (flags.has("--compress-min")) {
            service.setCompressMinBytes(flags.number("--compress-min", 0));
        }
        int threads = flags.number("--threads", 0);
        // Handlers that do not block need few threads, but more than the processors of a small machine.
        service.setWorkerPool(pool(threads == 0 ? 8 : threads, flags.number("--queue", 5000)));
        Handlers handlers = new Handlers(flags.has("--uncaught"));
        if (flags.has("--streams")) {
            provide(service, Api.Streams.class, new StreamHandlers());
        } else if (threads > 0) {
            provide(service, Api.Blocking.class, handlers.blocking());
        } else {
            provide(service, Api.Async.class, handlers.async());
        }
        return service;
    }

    private static <T> void provide(ServiceConfig service, Class<T> api, T handlers) {
        ProviderConfig<T> provider = ProviderConfig.newInstance();
        provider.setServiceInterface(api);
        provider.setRef(handlers);
        service.addProviderConfig(provider);
    }

    private static String pool(int threads, int queue) {
        String name = "interop_" + POOLS.incrementAndGet();
        ThreadPoolConfig pool = new ThreadPoolConfig();
        pool.setCorePoolSize(threads);
        pool.setMaximumPoolSize(threads);
        pool.setQueueSize(queue);
        ConfigManager.getInstance().registerPlugin(
                new PluginConfig(name, WorkerPool.class, ThreadWorkerPool.class, pool.toMap()));
        return name;
    }

    /** The port that was bound. The framework does not tell, so it is read from where it keeps it. */
    private static int port(RpcServer server, boolean streams) throws ReflectiveOperationException {
        if (streams) {
            Object listener = field(field(server, "service"), "channel");
            return ((DisposableServer) listener).port();
        }
        Channel listener = (Channel) field(field(server, "server"), "serverChannel");
        return ((InetSocketAddress) listener.localAddress()).getPort();
    }

    private static Object field(Object of, String name) throws ReflectiveOperationException {
        Field field = of.getClass().getDeclaredField(name);
        field.setAccessible(true);
        return field.get(of);
    }
}
