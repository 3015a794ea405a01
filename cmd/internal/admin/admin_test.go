package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/feed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	idp    = "https://idp.example"
	lender = "https://lender.example" // whose tokens live longer
)

// world is an admin server on a real listener, over a real feed.
type world struct {
	url    string
	port   string
	client *http.Client
	config Config
	server *Server
	memory *feed.Memory
	log    *buffer

	evidence *cache.Evidence

	mu      sync.Mutex
	counted map[string]int
}

// buffer is a log that can be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

// start runs a world; change may alter its configuration.
func start(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	return startOver(t, &feed.Memory{}, change...)
}

func startOver(t *testing.T, memory *feed.Memory, change ...func(*Config)) *world {
	t.Helper()
	w := &world{memory: memory, log: &buffer{}, counted: make(map[string]int), evidence: cache.NewEvidence()}
	index, sync := cache.NewIndex(), &cache.Sync{}
	f, err := feed.New(feed.Config{
		Log: memory, Key: []byte("0123456789abcdef0123456789abcdef"), MaxAge: time.Minute, Sync: sync,
		Apply: func(number uint64, at time.Time, events []cache.Event) {
			index.Apply(number, at, events)
			w.server.Applied(number, at, events)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.config = Config{
		Address: "127.0.0.1:0", Version: "test", Index: index, Enforced: w.evidence.Get, Sync: sync,
		MaxAge: time.Minute, Retention: 720 * time.Hour,
		Issuers: []Issuer{
			{Name: idp, MaxLife: time.Hour, ClockSkew: 30 * time.Second},
			{Name: lender, MaxLife: 2 * time.Hour, ClockSkew: 5 * time.Second},
		},
		Append: f.AppendUnless, Confirm: f.Confirm, Events: f.Events, Feed: f.Status,
		Logger: slog.New(slog.NewJSONHandler(w.log, nil)),
		Count: func(kind, result string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.counted[kind+" "+result]++
		},
	}
	for _, c := range change {
		c(&w.config)
	}
	if w.server, err = New(w.config); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, w.port, _ = net.SplitHostPort(l.Addr().String())
	w.url = "http://" + l.Addr().String()
	w.client = &http.Client{
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- f.Run(ctx) }()
	go func() { done <- w.server.Serve(l) }()
	t.Cleanup(func() {
		w.client.CloseIdleConnections()
		ending, stop := context.WithTimeout(context.Background(), 5*time.Second)
		defer stop()
		if err := w.server.Shutdown(ending); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		cancel()
		for range 2 {
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("a part ended with %v", err)
			}
		}
	})
	eventually(t, "the feed is fresh", func() bool { return sync.Health(time.Now(), time.Minute) == cache.Fresh })
	return w
}

// ask is one request; its zero values are those of a well-behaved client.
type ask struct {
	method, path, body string
	header             map[string]string // "Host" sets the host
}

type reply struct {
	status int
	header http.Header
	body   string
}

// json decodes the body into the tests' own idea of it.
func (r reply) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		t.Fatalf("%d %q: %v", r.status, r.body, err)
	}
	return v
}

func (w *world) do(t *testing.T, a ask) reply {
	t.Helper()
	var body io.Reader
	if a.body != "" {
		body = strings.NewReader(a.body)
	}
	req, err := http.NewRequest(a.method, w.url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.URL.Opaque = a.path // sent as it is written
	if path, query, ok := strings.Cut(a.path, "?"); ok {
		req.URL.Opaque, req.URL.RawQuery = path, query
	}
	if a.method == http.MethodPost && a.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range a.header {
		switch {
		case name == "Host":
			req.Host = value
		case value == "":
			req.Header.Del(name)
		default:
			req.Header.Set(name, value)
		}
	}
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(text)}
}

func (w *world) get(t *testing.T, path string) reply {
	t.Helper()
	return w.do(t, ask{method: "GET", path: path})
}

// revoke posts a revocation that must be taken.
func (w *world) revoke(t *testing.T, body string) map[string]any {
	t.Helper()
	got := w.do(t, ask{method: "POST", path: "/v1/revocations", body: body})
	if got.status != 201 {
		t.Fatalf("%s: %d %s", body, got.status, got.body)
	}
	return got.json(t)
}

// inForce counts the revocations of all kinds.
func (w *world) inForce() (n int64) {
	for _, kind := range cache.AllKinds() {
		n += w.config.Index.Count(kind)
	}
	return n
}

func session(sid string) string {
	return `{"kind":"session","value":"` + sid + `","issuer":"` + idp + `"}`
}

func TestNew(t *testing.T) {
	good := func() Config {
		return Config{
			Address: "127.0.0.1:9292", Index: cache.NewIndex(), Sync: &cache.Sync{}, Enforced: cache.NewEvidence().Get,
			MaxAge: time.Second, Retention: time.Hour,
			Append: func(context.Context, func() bool, ...cache.Event) (uint64, time.Time, error) {
				return 0, time.Time{}, nil
			},
			Confirm: func(context.Context) error { return nil },
			Events:  func(context.Context, uint64) (time.Time, []cache.Event, error) { return time.Time{}, nil, nil },
		}
	}
	for name, tc := range map[string]struct {
		change func(*Config)
		ok     bool
	}{
		"loopback":                    {func(*Config) {}, true},
		"localhost":                   {func(c *Config) { c.Address = "localhost:1" }, true},
		"IPv6 loopback":               {func(c *Config) { c.Address = "[::1]:1" }, true},
		"socket file":                 {func(c *Config) { c.Address = "unix:///run/x.sock" }, true},
		"everywhere":                  {func(c *Config) { c.Address = "0.0.0.0:1" }, false},
		"everywhere, unsaid":          {func(c *Config) { c.Address = ":1" }, false},
		"a name":                      {func(c *Config) { c.Address = "edge.example:1" }, false},
		"everywhere with token":       {func(c *Config) { c.Address, c.Token = ":1", []byte("s3cret\n") }, true},
		"everywhere with client CA":   {func(c *Config) { c.Address, c.MutualTLS = ":1", true }, true},
		"an empty token":              {func(c *Config) { c.Token = []byte{} }, false},
		"a token of white space":      {func(c *Config) { c.Token = []byte(" \n") }, false},
		"two tokens in the file":      {func(c *Config) { c.Token = []byte("one\ntwo") }, false},
		"no index":                    {func(c *Config) { c.Index = nil }, false},
		"no feed":                     {func(c *Config) { c.Append = nil }, false},
		"no retention":                {func(c *Config) { c.Retention = 0 }, false},
		"a max_age that is negative":  {func(c *Config) { c.MaxAge = -1 }, false},
		"an address that is no such ": {func(c *Config) { c.Address = "here" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := good()
			tc.change(&c)
			if _, err := New(c); (err == nil) != tc.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestShutdownCutsOff ends while a request hangs: the process must not wait.
func TestShutdownCutsOff(t *testing.T) {
	entered := make(chan struct{})
	w := start(t, func(c *Config) {
		c.Append = func(ctx context.Context, _ func() bool, _ ...cache.Event) (uint64, time.Time, error) {
			close(entered)
			<-ctx.Done()
			return 0, time.Time{}, ctx.Err()
		}
	})
	failed := make(chan error, 1)
	go func() {
		resp, err := w.client.Post(w.url+"/v1/revocations", "application/json", strings.NewReader(session("s")))
		if err == nil {
			_ = resp.Body.Close()
		}
		failed <- err
	}()
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := w.server.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if err := <-failed; err == nil {
		t.Error("the request that was cut off got an answer")
	}
}

// TestReload changes the token and the issuers of a server that runs.
func TestReload(t *testing.T) {
	w := start(t)
	next := w.config
	next.Token = []byte("s3cret")
	next.Issuers = []Issuer{{Name: "https://new.example", MaxLife: time.Hour}}
	if err := w.server.Reload(next); err != nil {
		t.Fatal(err)
	}
	if got := w.get(t, "/v1/status"); got.status != 401 {
		t.Errorf("without the new token: %d", got.status)
	}
	bearer := map[string]string{"Authorization": "Bearer s3cret"}
	if got := w.do(t, ask{"POST", "/v1/revocations", session("s"), bearer}); got.status != 400 {
		t.Errorf("an issuer that is gone: %d", got.status)
	}
	if got := w.do(t, ask{"POST", "/v1/revocations", strings.ReplaceAll(session("s"), idp, "https://new.example"), bearer}); got.status != 201 {
		t.Errorf("the new issuer: %d %s", got.status, got.body)
	}
	next.Retention = 0
	if err := w.server.Reload(next); err == nil {
		t.Error("a bad configuration was taken")
	}
}
