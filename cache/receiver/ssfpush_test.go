package receiver

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

// pushes is an endpoint for SETs of idp, over real HTTP.
type pushes struct {
	*SSFPush
	*memory
	signer *signer
	server *httptest.Server
}

func newPushes(t testing.TB, change func(*Config)) *pushes {
	t.Helper()
	p := &pushes{signer: newSigner(t, "k"), memory: &memory{}}
	c := Config{Issuer: idp, Audience: edge, Keys: keys(t, p.signer), Sink: p.sink}
	if change != nil {
		change(&c)
	}
	var err error
	if p.SSFPush, err = NewSSFPush(c); err != nil {
		t.Fatal(err)
	}
	p.now = func() time.Time { return moment }
	p.server = httptest.NewServer(p.SSFPush)
	t.Cleanup(p.server.Close)
	return p
}

func (p *pushes) token(t testing.TB, more obj) string {
	t.Helper()
	return p.signer.sign(t, setType, set(revoked, obj{}, more))
}

// post pushes and holds the answer to the form of RFC 8935, 2.2 and 2.3. err is
// "" where the SET was accepted.
func (p *pushes) post(t testing.TB, body string, change func(*http.Request)) (status int, err string) {
	t.Helper()
	req, fault := http.NewRequest(http.MethodPost, p.server.URL, strings.NewReader(body))
	if fault != nil {
		t.Fatal(fault)
	}
	req.Header.Set("Content-Type", setMedia)
	req.Header.Set("Accept", "application/json")
	if change != nil {
		change(req)
	}
	res, fault := p.server.Client().Do(req)
	if fault != nil {
		t.Fatal(fault)
	}
	defer res.Body.Close()
	content, fault := io.ReadAll(res.Body)
	if fault != nil {
		t.Fatal(fault)
	}
	switch {
	case res.StatusCode == http.StatusAccepted:
		if len(content) != 0 {
			t.Errorf("accepted with a body: %s", content)
		}
		return res.StatusCode, ""
	case res.StatusCode == http.StatusServiceUnavailable:
		if res.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		return res.StatusCode, "unavailable"
	}
	var answer map[string]string
	if fault := json.Unmarshal(content, &answer); fault != nil {
		t.Fatalf("%s: %v", content, fault)
	}
	if res.Header.Get("Content-Type") != "application/json" || res.Header.Get("Content-Language") == "" || answer["description"] == "" {
		t.Errorf("answer %v %v", res.Header, answer)
	}
	return res.StatusCode, answer["err"]
}

func TestPush(t *testing.T) {
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	for _, c := range []struct {
		name    string
		more    obj
		bearer  string
		request func(*http.Request)
		status  int
		err     string
	}{
		{"accepted", nil, "", nil, 202, ""},
		{"unmatched", obj{"sub_id": obj{"format": "email", "email": "a@b.example"}}, "", nil, 202, ""},
		{"unknown", obj{"events": obj{"urn:x": true}}, "", nil, 202, ""},
		{"media type with a parameter", nil, "", header("Content-Type", setMedia+"; charset=utf-8"), 202, ""},
		{"exp", obj{"exp": 1}, "", nil, 400, "invalid_request"},
		{"issuer", obj{"iss": "x"}, "", nil, 400, "invalid_issuer"},
		{"audience", obj{"aud": "x"}, "", nil, 400, "invalid_audience"},
		{"foreign subject", obj{"sub_id": obj{"format": "iss_sub", "iss": "https://other.example", "sub": "u"}}, "", nil, 403, "access_denied"},
		{"GET", nil, "", func(r *http.Request) { r.Method = http.MethodGet }, 405, "invalid_request"},
		{"another media type", nil, "", header("Content-Type", "application/json"), 415, "invalid_request"},
		{"no media type", nil, "", header("Content-Type"), 415, "invalid_request"},
		{"compressed", nil, "", header("Content-Encoding", "gzip"), 415, "invalid_request"},
		{"too large, and says so", obj{"x": strings.Repeat("x", 64<<10)}, "", nil, 413, "invalid_request"},
		{"too large, and does not", obj{"x": strings.Repeat("x", 64<<10)}, "", func(r *http.Request) { r.ContentLength = -1 }, 413, "invalid_request"},
		{"bearer", nil, "secret", header("Authorization", "Bearer secret"), 202, ""},
		{"bearer in small letters", nil, "secret", header("Authorization", "bearer secret"), 202, ""},
		{"no bearer", nil, "secret", nil, 401, "authentication_failed"},
		{"another bearer", nil, "secret", header("Authorization", "Bearer secret2"), 401, "authentication_failed"},
		{"an empty bearer", nil, "secret", header("Authorization", "Bearer "), 401, "authentication_failed"},
		{"another scheme", nil, "secret", header("Authorization", "Basic secret"), 401, "authentication_failed"},
		{"two bearers", nil, "secret", header("Authorization", "Bearer secret", "Bearer secret"), 401, "authentication_failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPushes(t, func(config *Config) {
				if c.bearer != "" {
					config.Bearer = func() string { return c.bearer }
				}
			})
			status, err := p.post(t, p.token(t, c.more), c.request)
			if status != c.status || err != c.err {
				t.Errorf("%d %s, want %d %s", status, err, c.status, c.err)
			}
			s := p.Stats()
			if stored := p.calls == 1; stored != (c.status == 202) || (s.Taken == 1) != stored || (s.Refused == 1) == stored || (s.LastRefusal != "") == stored {
				t.Errorf("%d stored, stats %+v", p.calls, s)
			}
		})
	}
}

// A secret that can not be read lets nobody in.
func TestPushWithoutItsSecret(t *testing.T) {
	p := newPushes(t, func(c *Config) { c.Bearer = func() string { return "" } })
	for _, value := range []string{"Bearer ", "Bearer", ""} {
		status, err := p.post(t, p.token(t, nil), func(r *http.Request) { r.Header.Set("Authorization", value) })
		if status != 401 || err != "authentication_failed" {
			t.Errorf("%q: %d %s", value, status, err)
		}
	}
}

func TestPushTwice(t *testing.T) {
	p := newPushes(t, nil)
	first := p.token(t, nil)
	for i, c := range []struct {
		token  string
		status int
		calls  int
	}{
		{first, 202, 1},
		{first, 202, 1},
		{p.token(t, nil), 202, 1}, // signed once more
		{p.token(t, obj{"sub_id": obj{"format": "opaque", "id": "s"}}), 400, 1}, // other content
		{p.token(t, obj{"jti": "j2"}), 202, 2},
	} {
		if status, err := p.post(t, c.token, nil); status != c.status || p.calls != c.calls {
			t.Errorf("%d: %d %s, %d stored", i, status, err, p.calls)
		}
	}
	if s := p.Stats(); s.Taken != 2 || s.Repeated != 2 || s.Refused != 1 || !s.LastTaken.Equal(moment) {
		t.Errorf("stats %+v", s)
	}
}

func TestPushIsAnsweredByTheSink(t *testing.T) {
	p := newPushes(t, nil)
	for _, c := range []struct {
		fault  error
		status int
		err    string
	}{
		{errors.New("disk full"), 503, "unavailable"},
		{ErrState, 400, "invalid_state"},
		{ErrOtherContent, 400, "invalid_request"},
		{nil, 202, ""}, // what failed was not remembered
	} {
		p.fail(c.fault)
		if status, err := p.post(t, p.token(t, nil), nil); status != c.status || err != c.err {
			t.Errorf("%v: %d %s", c.fault, status, err)
		}
	}
	if got := p.show(); got != "revoke ended subject=u1" {
		t.Errorf("stored %s", got)
	}
}

func TestPushWithoutKeys(t *testing.T) {
	p := newPushes(t, func(c *Config) { c.Keys = func() (*jose.KeySet, bool) { return nil, false } })
	if status, _ := p.post(t, p.token(t, nil), nil); status != 503 || p.Stats().Failed != 1 {
		t.Errorf("status %d, stats %+v", status, p.Stats())
	}
}

// RV22: of many at the same time one is stored, and all are told so.
func TestPushAtTheSameTime(t *testing.T) {
	const senders = 16
	entered, open := make(chan struct{}, senders), make(chan struct{})
	p := newPushes(t, nil)
	store := p.Sink
	p.Sink = func(ctx context.Context, effects ...Effect) error {
		entered <- struct{}{}
		<-open
		return store(ctx, effects...)
	}
	token, statuses := p.token(t, nil), make(chan int, senders)
	for range senders {
		go func() {
			status, _ := p.post(t, token, nil)
			statuses <- status
		}()
	}
	<-entered
	select {
	case status := <-statuses:
		t.Fatalf("answered %d before it was stored", status)
	default:
	}
	close(open)
	for range senders {
		if status := <-statuses; status != http.StatusAccepted {
			t.Errorf("status %d", status)
		}
	}
	if p.calls != 1 {
		t.Errorf("%d stored", p.calls)
	}
}

// A sender that hangs up has sent all the same.
func TestPushOfSomebodyWhoLeaves(t *testing.T) {
	entered, left, stored := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	p := newPushes(t, nil)
	p.Sink = func(ctx context.Context, _ ...Effect) error {
		close(entered)
		<-left
		stored <- ctx.Err()
		return ctx.Err()
	}
	conn, err := net.Dial("tcp", p.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	req, _ := http.NewRequest(http.MethodPost, p.server.URL, strings.NewReader(p.token(t, nil)))
	req.Header.Set("Content-Type", setMedia)
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	<-entered
	conn.Close()
	close(left)
	if err := <-stored; err != nil {
		t.Errorf("the sink was stopped: %v", err)
	}
}

// Half a body is no SET.
func TestPushOfHalfABody(t *testing.T) {
	p := newPushes(t, nil)
	conn, err := net.Dial("tcp", p.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: "+setMedia+"\r\nContent-Length: 100\r\n\r\nabc"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusBadRequest || p.calls != 0 {
		t.Errorf("status %d", res.StatusCode)
	}
}

func TestSeenIsBounded(t *testing.T) {
	var s seen
	key := func(i int) (k [16]byte) { k[0], k[1], k[2] = byte(i), byte(i>>8), byte(i>>16); return k }
	stored := 0
	put := func(now time.Time, i int) bool {
		repeat, err := s.once(t.Context(), now, key(i), key(0), func() error { stored++; return nil })
		if err != nil {
			t.Fatal(err)
		}
		return repeat
	}
	for i := range 3 * seenHalf {
		put(moment, i)
	}
	if n := len(s.young) + len(s.old); n > 2*seenHalf || stored != 3*seenHalf {
		t.Errorf("%d remembered, %d stored", n, stored)
	}
	if !put(moment, 3*seenHalf-1) || put(moment, 0) {
		t.Error("the last is forgotten, or the first is not")
	}
	put(moment.Add(seenAtMost+1), -1)
	if !put(moment, 0) {
		t.Error("forgotten after one half day")
	}
	put(moment.Add(2*seenAtMost+2), -2)
	if len(s.young)+len(s.old) != 2 {
		t.Error("remembered after two half days")
	}
}

func TestSeenSurvivesAPanic(t *testing.T) {
	var s seen
	var wait sync.WaitGroup
	wait.Go(func() {
		defer func() { _ = recover() }()
		_, _ = s.once(t.Context(), moment, [16]byte{1}, [16]byte{}, func() error { panic("sink") })
	})
	wait.Wait()
	repeat, err := s.once(t.Context(), moment, [16]byte{1}, [16]byte{}, func() error { return nil })
	if repeat || err != nil || len(s.flight) != 0 {
		t.Errorf("%v %v, %d in flight", repeat, err, len(s.flight))
	}
}

func TestSeenWaitsNoLongerThanItsSender(t *testing.T) {
	var s seen
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.once(t.Context(), moment, [16]byte{1}, [16]byte{}, func() error {
		cancel()
		_, err := s.once(ctx, moment, [16]byte{1}, [16]byte{}, func() error { return nil })
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
