package feed

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-authz/holdfast/cache"
)

// certificate makes what a server on loopback shows, and what its clients trust.
func certificate(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool}
}

func closing(t testing.TB, l Log) {
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// listen opens an embedded server that others can join.
func listen(t testing.TB, dir, address string, secure *tls.Config) *Embedded {
	t.Helper()
	e, err := OpenEmbedded(EmbeddedConfig{Directory: dir, Listen: address, Key: testKey, TLS: secure})
	if err != nil {
		t.Fatal(err)
	}
	closing(t, e)
	return e
}

const anyPort = "127.0.0.1:0"

func urlOf(a net.Addr) string { return "nats://" + a.String() }

// join opens another replica's way to a server.
func join(t testing.TB, cfg ClusterConfig) *Cluster {
	t.Helper()
	if cfg.Key == nil {
		cfg.Key = testKey
	}
	c, err := OpenCluster(cfg)
	if err != nil {
		t.Fatal(err)
	}
	closing(t, c)
	return c
}

func (r *replica) awaitSID(t testing.TB, sid string) {
	t.Helper()
	r.await(t, "applied "+sid, func(Status) bool { return r.has(sid) })
}

// What one of three replicas revokes, all apply, and one that comes late too.
func TestReplicasJoin(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			var server, client *tls.Config
			if secure {
				server, client = certificate(t)
			}
			e := listen(t, t.TempDir(), anyPort, server)
			cfg := ClusterConfig{URLs: []string{urlOf(e.Addr())}, TLS: client}
			replicas := []*replica{start(t, Config{Log: e}), start(t, Config{Log: join(t, cfg)}), start(t, Config{Log: join(t, cfg)})}
			for _, r := range replicas {
				r.synced(t)
			}
			for i, r := range replicas {
				r.revoke(t, fmt.Sprint("s", i))
			}
			replicas = append(replicas, start(t, Config{Log: join(t, cfg)}).synced(t))
			for _, r := range replicas {
				for i := range 3 {
					r.awaitSID(t, fmt.Sprint("s", i))
				}
				if r.Status().Breaks != 0 {
					t.Error(r.state())
				}
			}
		})
	}
}

// Only the feed's key opens the door, and nothing of it can be read outside.
func TestStrangersAreRefused(t *testing.T) {
	e := listen(t, t.TempDir(), anyPort, nil)
	r := start(t, Config{Log: e}).synced(t)
	r.revoke(t, "s1")
	otherPublic, otherSign, err := replicaKey([]byte(strings.Repeat("x", KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	public, _, err := replicaKey(testKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string][]nats.Option{
		"no key":           nil,
		"a password":       {nats.UserInfo("holdfast", "holdfast")},
		"a token":          {nats.Token(string(testKey))},
		"another key":      {nats.Nkey(otherPublic, otherSign)},
		"another's proof":  {nats.Nkey(public, otherSign)},
		"an old challenge": {nats.Nkey(public, func([]byte) ([]byte, error) { return signOnce(t, "challenge of another connection"), nil })},
	} {
		conn, err := nats.Connect(urlOf(e.Addr()), options...)
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", name, err)
		}
	}

	// The same through our own client, which goes on trying and says so.
	said := &journal{}
	c := join(t, ClusterConfig{URLs: []string{urlOf(e.Addr())}, Key: []byte(strings.Repeat("x", KeySize)), Logger: slog.New(slog.NewTextHandler(said, nil))})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.Last(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("read with a wrong key: %v", err)
	}
	if _, err := c.Append(t.Context(), 0, []byte("record")); !errors.Is(err, ErrRefused) || !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("written with a wrong key: %v", err)
	}
	if n := said.count("can not be reached"); n != 1 {
		t.Errorf("said %d times: %v", n, said.lines)
	}
	r.revoke(t, "s2")
}

func signOnce(t *testing.T, challenge string) []byte {
	_, sign, err := replicaKey(testKey)
	if err != nil {
		t.Error(err)
		return nil
	}
	signature, err := sign([]byte(challenge))
	if err != nil {
		t.Error(err)
	}
	return signature
}

// A client that demands TLS is not talked out of it, nor one that trusts
// another certificate; and a server with TLS takes nobody without.
func TestNoDowngrade(t *testing.T) {
	server, client := certificate(t)
	_, other := certificate(t)
	plain, secure := listen(t, t.TempDir(), anyPort, nil), listen(t, t.TempDir(), anyPort, server)
	for name, cfg := range map[string]ClusterConfig{
		"plain server":        {URLs: []string{urlOf(plain.Addr())}, TLS: client},
		"another certificate": {URLs: []string{urlOf(secure.Addr())}, TLS: other},
		"no certificate":      {URLs: []string{urlOf(secure.Addr())}},
	} {
		c := join(t, cfg)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		if _, err := c.Last(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}

// A replica that starts before its broker waits for it, not ready; when the
// broker goes and comes back on its port, everybody goes on and nothing is lost.
func TestBrokerComesAndGoes(t *testing.T) {
	dir := t.TempDir()
	first := listen(t, dir, anyPort, nil)
	address := first.Addr().String()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	said := &journal{}
	c := join(t, ClusterConfig{URLs: []string{"nats://" + address}, Logger: slog.New(slog.NewTextHandler(said, nil))})
	r := start(t, Config{Log: c})
	if _, _, err := r.Append(t.Context(), revoke("early")); !errors.Is(err, ErrNotDurable) {
		t.Errorf("appended without a broker: %v", err)
	}
	if h := r.sync.Health(time.Now(), time.Second); h != cache.NotReady {
		t.Errorf("without a broker: %v", h)
	}
	for i := range 3 {
		e := listen(t, dir, address, nil)
		local := start(t, Config{Log: e}).synced(t)
		sid := fmt.Sprint("s", i)
		local.revoke(t, sid)
		r.awaitSID(t, sid)
		r.await(t, "appends", func(Status) bool {
			_, _, err := r.Append(t.Context(), revoke("joined "+sid))
			return err == nil
		})
		local.awaitSID(t, "joined "+sid)
		local.stop()
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		r.await(t, "cut off", func(s Status) bool { return !s.Connected })
		if _, err := c.Append(t.Context(), r.Status().Number, []byte("late")); !errors.Is(err, ErrRefused) {
			t.Errorf("appended without a connection: %v", err)
		}
	}
	e := listen(t, dir, address, nil)
	local := start(t, Config{Log: e}).synced(t)
	for i := range 3 {
		for _, sid := range []string{fmt.Sprint("s", i), fmt.Sprint("joined s", i)} {
			local.awaitSID(t, sid)
			r.awaitSID(t, sid)
		}
	}
	if local.has("early") || local.Status().Breaks+r.Status().Breaks != 0 || said.count("level=ERROR") != 0 {
		t.Error(local.state(), r.state(), said.lines)
	}
}

// After a failure of the embedded server's store it starts anew on the port
// that it had, and the others find it there.
func TestSamePortAfterHealing(t *testing.T) {
	server, client := certificate(t)
	e := listen(t, t.TempDir(), anyPort, server)
	c := join(t, ClusterConfig{URLs: []string{urlOf(e.Addr())}, TLS: client})
	local, remote := start(t, Config{Log: e}).synced(t), start(t, Config{Log: c}).synced(t)
	for i := range 3 {
		e.mu.Lock()
		b := e.broker
		e.mu.Unlock()
		if err := b.server.ShutdownJetStream(); err != nil {
			t.Fatal(err)
		}
		sid := fmt.Sprint("s", i)
		remote.await(t, "appends again", func(Status) bool {
			_, _, err := remote.Append(t.Context(), revoke(sid))
			return err == nil
		})
		local.awaitSID(t, sid)
		remote.awaitSID(t, sid)
	}
	if local.Status().Breaks+remote.Status().Breaks != 0 {
		t.Error(local.state(), remote.state())
	}
	taken := listen(t, t.TempDir(), anyPort, nil)
	_, err := OpenEmbedded(EmbeddedConfig{Directory: t.TempDir(), Listen: taken.Addr().String(), Key: testKey})
	if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("a port that is taken: %v", err)
	}
}

func TestClusterRefused(t *testing.T) {
	for name, cfg := range map[string]ClusterConfig{
		"no URL":         {Key: testKey},
		"malformed":      {Key: testKey, URLs: []string{"nats://user:secret@[::1"}},
		"no host":        {Key: testKey, URLs: []string{"nats://user:secret@"}},
		"another scheme": {Key: testKey, URLs: []string{"http://user:secret@host:1"}},
		"two in one":     {Key: testKey, URLs: []string{"nats://user:secret@a:1,nats://b:2"}},
		"no key":         {URLs: []string{"nats://127.0.0.1:1"}},
		"no file":        {Key: testKey, URLs: []string{"nats://127.0.0.1:1"}, CredentialsFile: "absent.creds"},
		"stream name":    {Key: testKey, URLs: []string{"nats://127.0.0.1:1"}, Stream: "a.b"},
	} {
		c, err := OpenCluster(cfg)
		if err == nil {
			t.Errorf("%s: opened, %v", name, c.Close())
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, address := range []string{"127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"} {
		if e, err := OpenEmbedded(EmbeddedConfig{Directory: t.TempDir(), Listen: address, Key: testKey}); err == nil {
			t.Errorf("listens on %s, %v", address, e.Close())
		}
	}
	if e, err := OpenEmbedded(EmbeddedConfig{Directory: t.TempDir(), Listen: anyPort}); err == nil {
		t.Errorf("listens without a key, %v", e.Close())
	}
}
