package envoy

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// startEdge runs a plain-HTTP edge in front of an upstream that counts its
// calls; nobody listens where Holdfast should, unless the test does.
func startEdge(t *testing.T, ctx context.Context, change ...func([]byte) []byte) (p *Process, dir string, calls *atomic.Int64) {
	t.Helper()
	binary, err := Find(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	calls = new(atomic.Int64)
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	t.Cleanup(app.Close)
	if dir, err = os.MkdirTemp("", "hf"); err != nil { // short: it holds a socket
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config, err := Render(Edge{
		Listen: "127.0.0.1:0", Upstream: app.Listener.Addr().String(),
		Check: "unix://" + filepath.Join(dir, "check.sock"), AccessLog: filepath.Join(dir, "access.log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		config = c(config)
	}
	p, err = Start(ctx, Options{Binary: binary, Config: config, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p, dir, calls
}

// TestNoHoldfast: with nobody to ask, nobody is let in, and the status says
// outage and not refusal.
func TestNoHoldfast(t *testing.T) {
	p, dir, calls := startEdge(t, t.Context())
	for _, path := range []string{"/", "/orders?token=secret", "/healthz"} {
		res, err := http.Get("http://" + p.Listener + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("GET %s: %s", path, res.Status)
		}
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("the upstream was called %d times", n)
	}
	p.Stop() // flushes the log
	p.Stop() // does nothing
	log, err := os.ReadFile(filepath.Join(dir, "access.log"))
	if err != nil || strings.Count(string(log), "\n") != 3 || strings.Contains(string(log), "secret") {
		t.Errorf("access log: %s, %v", log, err)
	}
}

// TestSlowHoldfast: whoever does not answer gets the whole timeout, and then
// nobody is let in.
func TestSlowHoldfast(t *testing.T) {
	p, dir, calls := startEdge(t, t.Context(), func(config []byte) []byte {
		return regexp.MustCompile(`(?m)^    health_checks:\n    - .*\n`).ReplaceAll(config, nil) // or it is not asked at all
	})
	l, err := net.Listen("unix", filepath.Join(dir, "check.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // it accepts, as the kernel does it, and says nothing
	begin := time.Now()
	res, err := http.Get("http://" + p.Listener)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	took := time.Since(begin)
	if res.StatusCode != http.StatusServiceUnavailable || calls.Load() != 0 {
		t.Errorf("got %s, and the upstream was called %d times", res.Status, calls.Load())
	}
	if took < defaultTimeout-20*time.Millisecond || took > 10*time.Second {
		t.Errorf("it took %s, not %s", took, defaultTimeout)
	}
}

func TestProcessEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p, _, _ := startEdge(t, ctx)
	cancel()
	select {
	case <-p.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("Envoy goes on without its context")
	}
}

func TestStartShowsWhatEnvoySays(t *testing.T) {
	binary, err := Find(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), Options{Binary: binary, Config: []byte("admin: {adress: x}\n"), Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "adress") {
		t.Errorf("Start = %v", err)
	}
}

func TestFirstListener(t *testing.T) {
	for doc, want := range map[string]string{
		`{"listener_statuses":[{"name":"edge","local_address":{"socket_address":{"address":"127.0.0.1","port_value":41001}}}]}`: "127.0.0.1:41001",
		`{"listener_statuses":[{"name":"edge","local_address":{"socket_address":{"address":"::1","port_value":41001}}}]}`:       "[::1]:41001",
		`{"listener_statuses":[{"name":"edge","local_address":{"socket_address":{"address":"127.0.0.1"}}}]}`:                    "",
		`{}`: "",
		``:   "",
	} {
		got, err := firstListener([]byte(doc))
		if got != want || (err == nil) != (want != "") {
			t.Errorf("firstListener(%s) = %q, %v; want %q", doc, got, err, want)
		}
	}
}
