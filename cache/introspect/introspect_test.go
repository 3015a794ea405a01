package introspect

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	token  = "mF_9.B5f-4.1JqM/opaque+token~"
	pass   = "s3cret of holdfast"
	active = `{"active":true,"sub":"jdoe","exp":1419356238}`
)

// issuer answers as its handler says, which can be changed.
type issuer struct {
	*httptest.Server
	handler atomic.Pointer[http.HandlerFunc]
	asked   atomic.Int64
}

func newIssuer(t *testing.T, h http.HandlerFunc) *issuer {
	t.Helper()
	i := &issuer{}
	i.answer(h)
	i.Server = httptest.NewServer(i)
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) answer(h http.HandlerFunc) { i.handler.Store(&h) }

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.asked.Add(1)
	_ = r.ParseForm() // a server notices that its client went away only after the body
	(*i.handler.Load())(w, r)
}

// says is an answer in JSON.
func says(status int, body string) http.HandlerFunc {
	return typed(status, "application/json", body)
}

func typed(status int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// tester is a client, and what it logged and counted.
type tester struct {
	*Client
	file string

	mu      sync.Mutex
	log     bytes.Buffer
	results []string
}

func (s *tester) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *tester) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

func (s *tester) counted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.results)
}

func (s *tester) write(t *testing.T, secret string) {
	t.Helper()
	if err := os.WriteFile(s.file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
}

// open makes a client with much time, where c does not say otherwise.
func open(t *testing.T, c Config) *tester {
	t.Helper()
	s := &tester{file: filepath.Join(t.TempDir(), "secret")}
	s.write(t, pass+"\n")
	c.SecretFile = s.file
	if c.ClientID == "" {
		c.ClientID = "holdfast"
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	c.Logger = slog.New(slog.NewTextHandler(s, nil))
	c.Counted = func(result string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !slices.Contains(Results(), result) {
			t.Errorf("counted %q, which is not in Results", result)
		}
		s.results = append(s.results, result)
	}
	var err error
	if s.Client, err = New(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Client.Close)
	return s
}

func (s *tester) want(t *testing.T, err error) {
	t.Helper()
	claims, got := s.Introspect(token)
	if !errors.Is(got, err) || (claims != nil) != (err == nil) {
		t.Errorf("Introspect = %v, %v, want %v", claims, got, err)
	}
}

func TestNew(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := Config{URL: "https://idp.example/introspect?realm=a", ClientID: "holdfast", SecretFile: file("good", pass+"\r\n")}
	c, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	if c.c.Timeout != 200*time.Millisecond || c.c.MaxCalls != 64 || c.secret.value != pass {
		t.Errorf("client %+v", c.c)
	}
	c.Close()
	c.Close()
	for _, bad := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.URL = "" }, "not https"},
		{func(c *Config) { c.URL = "http://idp.example/" }, "use https, or a loopback host"},
		{func(c *Config) { c.URL = "https://169.254.169.254/" }, "link-local"},
		{func(c *Config) { c.URL = "https://a:b@idp.example/" }, "has a user"},
		{func(c *Config) { c.ClientID = "" }, "client_id"},
		{func(c *Config) { c.SecretFile = "" }, "no file"},
		{func(c *Config) { c.SecretFile = filepath.Join(dir, "missing") }, "missing"},
		{func(c *Config) { c.SecretFile = dir }, "not a regular file"},
		{func(c *Config) { c.SecretFile = file("empty", "") }, "is empty"},
		{func(c *Config) { c.SecretFile = file("newlines", "\n\r\n") }, "is empty"},
		{func(c *Config) { c.SecretFile = file("long", strings.Repeat("x", maxSecret+1)) }, "more than 4096"},
		{func(c *Config) { c.Timeout = -1 }, "below zero"},
		{func(c *Config) { c.MaxCalls = -1 }, "below zero"},
	} {
		config := good
		bad.change(&config)
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("New = %v, want %q", err, bad.want)
		}
	}
}

// TestRequest: RFC 7662, 2.1 and RFC 6749, 2.3.1 to the letter.
func TestRequest(t *testing.T) {
	i := newIssuer(t, nil)
	i.answer(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.String() != "/introspect?realm=a" || r.Proto != "HTTP/1.1" {
			t.Errorf("%s %s %s", r.Method, r.URL, r.Proto)
		}
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		if len(r.PostForm) != 2 || !slices.Equal(r.PostForm["token"], []string{token}) || !slices.Equal(r.PostForm["token_type_hint"], []string{"access_token"}) {
			t.Errorf("form %v", r.PostForm)
		}
		id, secret, ok := r.BasicAuth()
		if !ok || id != "hold%3Afast%C3%A9" || secret != "p%25+%2B%3A%26" {
			t.Errorf("credentials %q %q", id, secret)
		}
		for name, want := range map[string]string{
			"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json",
			"Accept-Encoding": "", "Idempotency-Key": "", "User-Agent": "holdfast", "Cookie": "",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		http.SetCookie(w, &http.Cookie{Name: "sid", Value: "1"})
		says(200, active)(w, r)
	})
	s := open(t, Config{URL: i.URL + "/introspect?realm=a", ClientID: "hold:fasté"})
	s.write(t, "p% +:&\n")
	s.want(t, nil)
	s.want(t, nil)
}

// TestVectors: the samples of RFC 7662, RFC 9449 and RFC 8705.
func TestVectors(t *testing.T) {
	doc, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		ID     string
		Status int
		Body   json.RawMessage
		Expect struct{ Active bool }
	}
	if err := json.Unmarshal(doc, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) != 4 {
		t.Errorf("%d vectors", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.ID, func(t *testing.T) {
			s := open(t, Config{URL: newIssuer(t, says(v.Status, string(v.Body))).URL})
			if !v.Expect.Active {
				s.want(t, ErrInactive)
				return
			}
			claims, err := s.Introspect(token)
			if err != nil {
				t.Fatal(err)
			}
			var want map[string]json.RawMessage
			if err := json.Unmarshal(v.Body, &want); err != nil {
				t.Fatal(err)
			}
			if len(claims.Members()) != len(want) {
				t.Errorf("%d claims, want %d", len(claims.Members()), len(want))
			}
			for _, m := range claims.Members() {
				if m.Value.Raw() != string(want[m.Name]) {
					t.Errorf("%s is %s, want %s", m.Name, m.Value.Raw(), want[m.Name])
				}
			}
		})
	}
}

func TestConnectionsKept(t *testing.T) {
	i := newIssuer(t, says(200, active))
	var opened atomic.Int64
	s := open(t, Config{URL: i.URL})
	tr := s.http.Transport.(*http.Transport)
	dial := tr.DialContext
	tr.DialContext = counting(dial, &opened)
	for n := range 100 {
		if n%2 == 0 {
			i.answer(says(200, `{"active":false}`))
			s.want(t, ErrInactive)
		} else {
			i.answer(says(200, active))
			s.want(t, nil)
		}
	}
	if opened.Load() != 1 {
		t.Errorf("%d connections for 100 questions one after the other", opened.Load())
	}
	if st := s.Status(); st.Calls != 100 || st.Failed != 0 || st.Failing || st.LastSuccess.IsZero() || st.LastError != "" || st.URL != i.URL {
		t.Errorf("status %+v", st)
	}
	if s.logged() != "" {
		t.Errorf("logged %s", s.logged())
	}
}
