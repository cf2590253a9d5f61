package tern.interop.peer;

import com.tencent.trpc.core.common.ConfigManager;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.Consumer;

/** The Java side of the interop suite: a server and a client of tRPC-Java. README.md says how it is used. */
public final class Peer {

    private static final String USAGE = """
            usage:
              peer server --addr HOST:PORT [--timeout-ms N] [--threads N [--queue N]] [--uncaught] [--streams]
                          [--compress none|gzip|snappy] [--compress-min N] [--idle-ms N] [--verbose]
              peer client --addr HOST:PORT [--connections N] [--call-timeout-ms N] [--case NAME[,NAME...]]
                          [--expect-deadline-answer] [--verbose]
              peer cases
              peer commands [--verbose]
            """;

    /** Servers that were started by a command, by their addresses. */
    private final Map<String, PeerServer> servers = new ConcurrentHashMap<>();

    /** How long a process that was told to end stays at least. */
    private static final int LEAVING_MS = 3000;

    private Peer() {
    }

    public static void main(String[] arguments) throws Exception {
        List<String> all = Arrays.asList(arguments);
        // The framework's log is configured when its first class is loaded.
        if (all.contains("--verbose")) {
            System.setProperty("peer.log", "info");
        }
        if (all.isEmpty()) {
            wrong("a verb is missing");
        }
        try {
            switch (all.get(0)) {
                case "server" -> serve(all.subList(1, all.size()));
                case "commands" -> new Peer().obey();
                default -> {
                    ConfigManager.getInstance().start(false);
                    OneAtATime.register();
                    System.exit(new Peer().run(all, System.out::println));
                }
            }
        } catch (Flags.Wrong e) {
            wrong(e.getMessage());
        }
    }

    private static void wrong(String message) {
        System.err.println("peer: " + message + "\n" + USAGE);
        System.exit(2);
    }

    /**
     * Serves until the process is told to end; then the framework closes in its own order. It does not wait until its
     * event loops have written the last answers, so the process leaves them some time.
     */
    private static void serve(List<String> arguments) throws Exception {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                Thread.sleep(LEAVING_MS);
            } catch (InterruptedException e) {
                // Then it ends at once.
            }
        }));
        ConfigManager.getInstance().start();
        OneAtATime.register();
        System.out.println("listening " + PeerServer.start(arguments).address());
        Thread.currentThread().join();
    }

    /**
     * Reads command lines from standard input until it ends. Each begins with a word of the caller's choice, which
     * begins each line of the answer too; the last one is {@code end STATUS}. They run side by side.
     */
    private void obey() throws IOException {
        ConfigManager.getInstance().start();
        OneAtATime.register();
        ExecutorService threads = Executors.newCachedThreadPool();
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            List<String> words = List.of(line.split(" "));
            threads.execute(() -> {
                Consumer<String> out = text -> say(words.get(0) + " " + text);
                int status = 2;
                try {
                    status = run(words.subList(1, words.size()), out);
                } catch (Throwable e) {
                    out.accept("error " + oneLine(e));
                }
                out.accept("end " + status);
            });
        }
        // Whoever gave the commands is gone: nothing is left to be closed in order.
        Runtime.getRuntime().halt(0);
    }

    /** A line goes out whole, and at once. */
    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private int run(List<String> words, Consumer<String> out) throws Exception {
        List<String> rest = words.subList(1, words.size());
        switch (words.get(0)) {
            case "server" -> {
                PeerServer server = PeerServer.startOneOfMany(rest);
                servers.put(server.address().toString(), server);
                out.accept("listening " + server.address());
                return 0;
            }
            case "stop" -> {
                servers.remove(rest.get(0)).close();
                return 0;
            }
            case "client" -> {
                return PeerClient.run(rest, out) ? 0 : 1;
            }
            case "cases" -> {
                Cases.ALL.keySet().forEach(out);
                return 0;
            }
            default -> throw new Flags.Wrong("no verb is called " + words.get(0));
        }
    }

    static String oneLine(Throwable e) {
        return e.toString().trim().replaceAll("\\s+", " ");
    }
}
