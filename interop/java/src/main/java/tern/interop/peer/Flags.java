package tern.interop.peer;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Flags of the form {@code --name value}, and {@code --name} for those that are on or off. */
final class Flags {

    /** Flags that nobody knows, or whose values make no sense. */
    static final class Wrong extends Exception {

        private static final long serialVersionUID = 1;

        Wrong(String message) {
            super(message);
        }
    }

    private final Map<String, String> values = new HashMap<>();

    /** Reads {@code arguments}: each flag has to be in one of the sets. */
    Flags(List<String> arguments, Set<String> withValue, Set<String> switches) throws Wrong {
        for (int at = 0; at < arguments.size(); at++) {
            String name = arguments.get(at);
            if (switches.contains(name)) {
                values.put(name, "");
            } else if (!withValue.contains(name)) {
                throw new Wrong("unexpected argument " + name);
            } else if (++at == arguments.size()) {
                throw new Wrong(name + " needs a value");
            } else {
                values.put(name, arguments.get(at));
            }
        }
    }

    boolean has(String name) {
        return values.containsKey(name);
    }

    String text(String name, String otherwise) {
        return values.getOrDefault(name, otherwise);
    }

    int number(String name, int otherwise) throws Wrong {
        String text = values.get(name);
        try {
            int number = text == null ? otherwise : Integer.parseInt(text);
            if (number >= 0) {
                return number;
            }
        } catch (NumberFormatException e) {
            // Told below, as for a negative one.
        }
        throw new Wrong(name + " must be a number that is not negative, not " + text);
    }

    /** The host and the port of {@code --addr HOST:PORT}. */
    Address address(String otherwise) throws Wrong {
        String text = values.getOrDefault("--addr", otherwise);
        int colon = text == null ? -1 : text.lastIndexOf(':');
        try {
            if (colon > 0) {
                return new Address(text.substring(0, colon), Integer.parseInt(text.substring(colon + 1)));
            }
        } catch (NumberFormatException e) {
            // Told below.
        }
        throw new Wrong("--addr must be HOST:PORT, not " + text);
    }

    record Address(String host, int port) {

        @Override
        public String toString() {
            return host + ":" + port;
        }
    }
}
