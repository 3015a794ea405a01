package jwks

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const iss = "https://idp.example"

// jwkOf is a JWK of a new P-256 key.
func jwkOf(t testing.TB, kid string) string {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"kty":"EC","crv":"P-256","kid":%q,"alg":"ES256","use":"sig","x":%q,"y":%q}`, kid, b64(point[1:33]), b64(point[33:]))
}

// setOf is a JWK Set of new keys.
func setOf(t testing.TB, kids ...string) string {
	t.Helper()
	var keys []string
	for _, kid := range kids {
		keys = append(keys, jwkOf(t, kid))
	}
	return `{"keys":[` + strings.Join(keys, ",") + `]}`
}

// switchable is a handler that a test exchanges while it serves, and counts.
type switchable struct {
	now   atomic.Pointer[http.HandlerFunc]
	count atomic.Int64
}

func (s *switchable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.count.Add(1)
	(*s.now.Load())(w, r)
}

func (s *switchable) set(h http.HandlerFunc) { s.now.Store(&h) }

func (s *switchable) doc(doc string) { s.set(serve(doc)) }

func serve(doc string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(doc))
	}
}

// journal is a log that tests read.
type journal struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines.Write(p)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.lines.String(), text)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines.String()
}

// site is an issuer's key server on loopback and a store that looks there.
type site struct {
	*switchable
	url   string
	store *Store
	log   *journal
}

func newSite(t *testing.T, doc string, timeout time.Duration) *site {
	t.Helper()
	s := &site{switchable: &switchable{}, log: &journal{}}
	s.doc(doc)
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL + "/jwks"
	s.store = open(t, Config{Logger: s.log.logger(), Timeout: timeout, Sources: []Source{{Issuer: iss, URL: s.url}}})
	return s
}

func open(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func refresh(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Refresh(t.Context(), iss); err != nil {
		t.Fatal(err)
	}
}

// wantKids fails where the set in force is not of these keys; none: no set.
func wantKids(t *testing.T, s *Store, issuer string, want ...string) {
	t.Helper()
	set, ok := s.KeySet(issuer)
	if ok != (len(want) > 0) {
		t.Fatalf("KeySet(%s) ok = %v, want %v", issuer, ok, want)
	}
	if ok && !slices.Equal(kids(set), want) {
		t.Fatalf("KeySet(%s) has %v, want %v", issuer, kids(set), want)
	}
}

// run starts the store and returns a function that ends it; for synctest
// bubbles, whose goroutines must have ended before the bubble does.
func run(t *testing.T, s *Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// wire is a network in memory: every dial reaches handler. It lets a bubble of
// testing/synctest serve HTTP in its own time.
type wire struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newWire(handler http.Handler) (w *wire, stop func()) {
	w = &wire{make(chan net.Conn), make(chan struct{})}
	server := &http.Server{Handler: handler}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(w)
	}()
	return w, func() {
		_ = server.Close()
		<-done
	}
}

func (w *wire) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case w.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (w *wire) Accept() (net.Conn, error) {
	select {
	case c := <-w.conns:
		return c, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

func (w *wire) Close() error   { close(w.closed); return nil }
func (w *wire) Addr() net.Addr { return &net.TCPAddr{} }

// attach makes a store use the wire for all its sources.
func (w *wire) attach(s *Store) {
	for _, src := range s.order {
		src.fetch.client.Transport.(*http.Transport).DialContext = w.dial
	}
}
