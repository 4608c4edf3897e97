import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.Proxy;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Scanner;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/**
 * Asks through a proxy with both of Java's HTTP clients.
 *
 * Usage: java ProxyClient.java PROXY_PORT CA_FILE, and on standard input a line for each request: CLIENT METHOD URL FILE.
 * A GET writes the response's body to FILE, a PUT sends FILE. Prints a status, or what went wrong, for each.
 */
public class ProxyClient {
    private final InetSocketAddress proxy;
    private final SSLContext trust;
    private final HttpClient client;

    ProxyClient(int port, Path authority) throws Exception {
        proxy = new InetSocketAddress("127.0.0.1", port);
        trust = trusting(authority);
        client = HttpClient.newBuilder().proxy(ProxySelector.of(proxy)).sslContext(trust).build();
    }

    static SSLContext trusting(Path authority) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (InputStream pem = Files.newInputStream(authority)) {
            store.setCertificateEntry("authority", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        TrustManagerFactory trusted = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trusted.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trusted.getTrustManagers(), null);
        return context;
    }

    int ask(String kind, String method, URI url, Path file) throws Exception {
        if (kind.equals("HttpURLConnection")) {
            return method.equals("GET") ? oldGet(url, file) : oldPut(url, file);
        }
        HttpRequest.Builder request = HttpRequest.newBuilder(url);
        if (method.equals("GET")) {
            return client.send(request.build(), HttpResponse.BodyHandlers.ofFile(file)).statusCode();
        }
        request.PUT(HttpRequest.BodyPublishers.ofFile(file)).expectContinue(kind.endsWith("Expect"));
        return client.send(request.build(), HttpResponse.BodyHandlers.discarding()).statusCode();
    }

    private HttpURLConnection open(URI url) throws IOException {
        HttpURLConnection connection =
            (HttpURLConnection) url.toURL().openConnection(new Proxy(Proxy.Type.HTTP, proxy));
        if (connection instanceof HttpsURLConnection) {
            ((HttpsURLConnection) connection).setSSLSocketFactory(trust.getSocketFactory());
        }
        return connection;
    }

    private int oldGet(URI url, Path file) throws IOException {
        HttpURLConnection connection = open(url);
        try (InputStream body = connection.getInputStream()) {
            Files.copy(body, file);
        }
        return connection.getResponseCode();
    }

    private int oldPut(URI url, Path file) throws IOException {
        HttpURLConnection connection = open(url);
        connection.setRequestMethod("PUT");
        connection.setDoOutput(true);
        connection.setChunkedStreamingMode(0);
        try (OutputStream body = connection.getOutputStream()) {
            Files.copy(file, body);
        }
        return connection.getResponseCode();
    }

    public static void main(String[] arguments) throws Exception {
        ProxyClient client = new ProxyClient(Integer.parseInt(arguments[0]), Path.of(arguments[1]));
        Scanner requests = new Scanner(System.in);
        while (requests.hasNext()) {
            String kind = requests.next();
            String method = requests.next();
            try {
                System.out.println(client.ask(kind, method, URI.create(requests.next()), Path.of(requests.next())));
            } catch (Exception problem) {
                System.out.println(problem);
            }
        }
    }
}
