package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

// external starts an ordinary NATS server, one of a cluster where o says so.
func external(t testing.TB, o server.Options) *server.Server {
	t.Helper()
	o.Host, o.Port, o.NoSigs, o.NoLog = "127.0.0.1", max(o.Port, 0), true, true
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	o.JetStream, o.DisableJetStreamBanner = true, true
	if o.StoreDir == "" {
		o.StoreDir = t.TempDir()
	}
	s, err := server.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not start")
	}
	return s
}

// cluster starts n servers that know each other, and waits for their leader.
func cluster(t testing.TB, n int) (servers []*server.Server) {
	t.Helper()
	ports := make([]int, n)
	var routes []*url.URL
	for i := range ports {
		l, err := net.Listen("tcp", anyPort)
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = l.Addr().(*net.TCPAddr).Port
		defer func() { _ = l.Close() }()
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i, port := range ports {
		servers = append(servers, external(t, server.Options{
			ServerName: fmt.Sprint("n", i), Routes: routes,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port},
		}))
	}
	until(t, "a leader", func() bool {
		for _, s := range servers {
			if s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == n {
				return true
			}
		}
		return false
	})
	return servers
}

// A server that asks for nothing, one that wants a password, and a stream of
// another name: two deployments in one server.
func TestOrdinaryServer(t *testing.T) {
	open := external(t, server.Options{})
	closed := external(t, server.Options{Username: "user", Password: "secret"})
	said := &journal{}
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	credentials := filepath.Join(t.TempDir(), "user.creds")
	text := "-----BEGIN NATS USER JWT-----\ne30.e30.c2ln\n------END NATS USER JWT------\n\n" +
		"-----BEGIN USER NKEY SEED-----\n" + string(seed) + "\n------END USER NKEY SEED------\n"
	if err := os.WriteFile(credentials, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]ClusterConfig{
		"open":     {URLs: []string{open.ClientURL()}},
		"other":    {URLs: []string{open.ClientURL()}, Stream: "Other"},
		"file":     {URLs: []string{open.ClientURL()}, Stream: "Third", CredentialsFile: credentials},
		"password": {URLs: []string{strings.Replace(closed.ClientURL(), "nats://", "nats://user:secret@", 1)}},
	} {
		cfg.Logger = slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c := join(t, cfg)
		r := start(t, Config{Log: c}).synced(t)
		if n := r.revoke(t, name); n != 3 && n != 4 {
			t.Errorf("%s: in record %d of a new stream", name, n)
		}
		p := proofs(t, c, 0)
		if key := newProof(); !claim(t, p, key) || claim(t, p, key) {
			t.Errorf("%s: claims", name)
		}
	}
	if said.count("connected to the feed's broker") != 4 || said.count("secret") != 0 {
		t.Error(said.lines)
	}
}

// Three servers of a cluster keep the stream, and it outlives any one of them.
func TestClusterOfThree(t *testing.T) {
	servers := cluster(t, 3)
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.ClientURL())
	}
	a, b := join(t, ClusterConfig{URLs: urls}), join(t, ClusterConfig{URLs: []string{urls[1], urls[2]}})
	one, two := start(t, Config{Log: a}).synced(t), start(t, Config{Log: b}).synced(t)
	one.revoke(t, "s1")
	two.revoke(t, "s2")
	pa, pb := proofs(t, a, 0), proofs(t, b, 0)
	key := newProof()
	if !claim(t, pa, key) || claim(t, pb, key) {
		t.Error("claims")
	}
	l, err := a.link(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(l.conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{string(streamName), streamName.claims()} {
		stream, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if n := stream.CachedInfo().Config.Replicas; n != 3 {
			t.Errorf("%s has %d replicas", name, n)
		}
	}
	servers[0].Shutdown()
	servers[0].WaitForShutdown()
	for i, r := range []*replica{one, two} {
		sid := fmt.Sprint("after", i)
		r.await(t, "appends", func(Status) bool {
			_, _, err := r.Append(t.Context(), revoke(sid))
			return err == nil
		})
	}
	for _, r := range []*replica{one, two} {
		for _, sid := range []string{"s1", "s2", "after0", "after1"} {
			r.awaitSID(t, sid)
		}
		if r.Status().Breaks != 0 {
			t.Error(r.state())
		}
	}
	until(t, "claims again", func() bool {
		first, err := pb.Claim(t.Context(), key, soon())
		if first {
			t.Fatal("a claim was forgotten with a server")
		}
		return err == nil
	})
}

// Two servers can not keep three copies.
func TestClusterOfTwo(t *testing.T) {
	servers := cluster(t, 2)
	c := join(t, ClusterConfig{URLs: []string{servers[0].ClientURL()}})
	start(t, Config{Log: c}).synced(t).revoke(t, "s1")
	if _, l, err := c.use(t.Context()); err != nil || l.log.stream.CachedInfo().Config.Replicas != 1 {
		t.Error(err)
	}
}

// What somebody else made under the feed's name is looked at, and its fault said.
func TestClusterStreamConfiguration(t *testing.T) {
	s := external(t, server.Options{})
	conn, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	config := streamConfig(streamName, 1)
	config.MaxAge = time.Hour
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	c := join(t, ClusterConfig{URLs: []string{s.ClientURL()}})
	if _, err := c.Last(t.Context()); err == nil || !strings.Contains(err.Error(), "max_age is 1h0m0s") {
		t.Error(err)
	}
	if _, err := c.Append(t.Context(), 0, []byte("record")); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
}

// A broker that takes a record and dies before it says so: the record is not
// acknowledged, and whether it is there shows afterwards.
func TestClusterAnswerLost(t *testing.T) {
	silent := external(t, server.Options{})
	conn, err := nats.Connect(silent.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := join(t, ClusterConfig{URLs: []string{silent.ClientURL()}})
	r := start(t, Config{Log: c, MaxAge: time.Hour}).synced(t)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	// Now the stream is gone and somebody takes its messages without a word.
	if err := js.DeleteStream(t.Context(), string(streamName)); err != nil {
		t.Fatal(err)
	}
	taken := make(chan *nats.Msg, 10)
	sub, err := conn.ChanSubscribe(streamName.subject(), taken)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() {
		_, err := c.Append(context.Background(), r.Status().Number, []byte("record"))
		result <- err
	}()
	<-taken
	silent.Shutdown()
	if err := <-result; !errors.Is(err, ErrRefused) || !errors.Is(err, errLost) {
		t.Error(err)
	}
}
