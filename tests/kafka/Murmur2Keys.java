// Prints the partition that Java's producer chooses for each key of standard input, at each partition count given:
// what it makes is murmur2_keys.txt. README.md has the command; it needs a JDK.

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

public class Murmur2Keys {
    public static void main(String[] counts) throws IOException {
        System.out.println("key " + String.join(" ", counts));
        BufferedReader keys = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String key = keys.readLine(); key != null; key = keys.readLine()) {
            StringBuilder line = new StringBuilder(key);
            for (String count : counts) {
                byte[] bytes = key.getBytes(StandardCharsets.UTF_8);
                line.append(' ').append(BuiltInPartitioner.partitionForKey(bytes, Integer.parseInt(count)));
            }
            System.out.println(line);
        }
    }
}
