import java.io.IOException;
import java.io.InputStream;
import java.net.Authenticator;
import java.net.InetSocketAddress;
import java.net.PasswordAuthentication;
import java.net.Proxy;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.Scanner;

/**
 * Asks through a SOCKS proxy by a java.net.Socket.
 *
 * Usage: java SocksClient.java, and on standard input a line for each request: PROXY_PORT LOGIN HOST PORT PATH. LOGIN is
 * NAME:PASSWORD, or - for none. Prints the last line of each response, or what went wrong.
 */
public class SocksClient {
    static String ask(int proxyPort, String host, int port, String path) throws IOException {
        try (Socket socket = new Socket(new Proxy(Proxy.Type.SOCKS, new InetSocketAddress("127.0.0.1", proxyPort)))) {
            socket.connect(InetSocketAddress.createUnresolved(host, port), 20000);
            socket.getOutputStream().write(("GET " + path + " HTTP/1.0\r\nHost: a\r\n\r\n").getBytes(StandardCharsets.US_ASCII));
            StringBuilder response = new StringBuilder();
            InputStream stream = socket.getInputStream();
            for (int octet = stream.read(); octet >= 0; octet = stream.read()) {
                response.append((char) octet);
            }
            return response.substring(response.lastIndexOf("\n") + 1);
        }
    }

    public static void main(String[] arguments) {
        Scanner lines = new Scanner(System.in);
        while (lines.hasNextLine()) {
            String[] words = lines.nextLine().split(" ");
            String[] login = words[1].split(":");
            Authenticator.setDefault(login.length < 2 ? null : new Authenticator() {
                @Override
                protected PasswordAuthentication getPasswordAuthentication() {
                    return new PasswordAuthentication(login[0], login[1].toCharArray());
                }
            });
            try {
                System.out.println(ask(Integer.parseInt(words[0]), words[2], Integer.parseInt(words[3]), words[4]));
            } catch (IOException error) {
                System.out.println(error);
            }
        }
    }
}
