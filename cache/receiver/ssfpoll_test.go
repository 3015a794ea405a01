package receiver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

// pollAsked is a request to the transmitter.
type pollAsked struct {
	MaxEvents int
	Ack       []string
	SetErrs   map[string]wireRefusal
}

// testPoll is a poller and the transmitter that it polls, by real HTTP.
type testPoll struct {
	*SSFPoll
	signer *signer
	memory *memory

	mu      sync.Mutex
	answers []http.HandlerFunc // in order; then empty ones
	asked   []pollAsked
	headers []http.Header
	heard   chan struct{} // once for each request
}

func newTestPoll(t *testing.T, c Config) *testPoll {
	t.Helper()
	p := &testPoll{signer: newSigner(t, "k"), memory: &memory{}, heard: make(chan struct{}, 1000)}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	if c.Keys == nil {
		c.Keys = keys(t, p.signer)
	}
	if c.Sink == nil {
		c.Sink = p.memory.sink
	}
	c.Issuer, c.Audience, c.URL, c.Client = idp, edge, server.URL+"/poll", server.Client()
	c.Interval = cmp.Or(c.Interval, time.Millisecond)
	poll, err := NewSSFPoll(c)
	if err != nil {
		t.Fatal(err)
	}
	p.SSFPoll = poll
	p.now = func() time.Time { return moment }
	return p
}

func (p *testPoll) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var asked pollAsked
	if err := json.NewDecoder(req.Body).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	p.asked, p.headers = append(p.asked, asked), append(p.headers, req.Header)
	next := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"sets": {}}`) }
	if len(p.answers) > 0 {
		next, p.answers = p.answers[0], p.answers[1:]
	}
	p.mu.Unlock()
	next(w, req)
	p.heard <- struct{}{}
}

func (p *testPoll) answer(body string) {
	p.answers = append(p.answers, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, body)
	})
}

// sets answers with SETs by their names.
func (p *testPoll) sets(t *testing.T, more bool, tokens map[string]any) {
	t.Helper()
	p.answer(string(marshal(t, obj{"sets": tokens, "moreAvailable": more})))
}

func (p *testPoll) set(t *testing.T, jti string) string {
	t.Helper()
	return p.signer.sign(t, setType, set(revoked, obj{}, obj{"jti": jti}))
}

// once polls a single time.
func (p *testPoll) once(t *testing.T) bool {
	t.Helper()
	progress, err := p.poll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return progress
}

func TestPollAcknowledgesWhatIsStored(t *testing.T) {
	p := newTestPoll(t, Config{Bearer: func() string { return "secret" }})
	p.sets(t, true, map[string]any{"a": p.set(t, "a"), "b": p.set(t, "b")})
	p.sets(t, false, map[string]any{"b": p.set(t, "b"), "c": p.set(t, "c")})
	p.sets(t, true, map[string]any{"c": p.set(t, "c")})
	for i, want := range []bool{true, true, false, false} { // repeats are no progress, whatever moreAvailable says
		if got := p.once(t); got != want {
			t.Errorf("poll %d: progress %v", i, got)
		}
	}
	for i, want := range [][]string{nil, {"a", "b"}, {"b", "c"}, {"c"}} {
		slices.Sort(p.asked[i].Ack)
		if !slices.Equal(p.asked[i].Ack, want) || p.asked[i].MaxEvents != maxPolled {
			t.Errorf("poll %d asked %+v, want %v", i, p.asked[i], want)
		}
	}
	if p.memory.calls != 3 || p.headers[0].Get("Authorization") != "Bearer secret" || p.headers[0].Get("Content-Type") != "application/json" {
		t.Errorf("%d stored; headers %v", p.memory.calls, p.headers[0])
	}
	if s := p.Stats(); s.Taken != 3 || s.Repeated != 2 || s.Refused != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestPollDoesNotAcknowledgeWhatIsNotStored(t *testing.T) {
	p := newTestPoll(t, Config{})
	p.sets(t, false, map[string]any{"a": p.set(t, "a")})
	p.sets(t, false, map[string]any{"a": p.set(t, "a")})
	p.memory.fail(errors.New("disk full"))
	if _, err := p.poll(t.Context()); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Fatalf("error %v", err)
	}
	p.memory.fail(nil)
	p.once(t)
	p.once(t)
	if len(p.asked[1].Ack) != 0 || len(p.asked[1].SetErrs) != 0 || !slices.Equal(p.asked[2].Ack, []string{"a"}) {
		t.Errorf("asked %+v", p.asked)
	}
}

// What was stored beside it is acknowledged; the rest comes again.
func TestPollWhereTheSinkBreaks(t *testing.T) {
	p := newTestPoll(t, Config{})
	tokens := map[string]any{}
	for i := range maxPolled {
		jti := fmt.Sprint("j", i)
		tokens[jti] = p.set(t, jti)
	}
	var stored atomic.Int64
	sink := p.Sink
	p.Sink = func(ctx context.Context, effects ...Effect) error {
		if stored.Add(1) == 20 {
			return errors.New("disk full")
		}
		return sink(ctx, effects...)
	}
	p.sets(t, false, tokens)
	if _, err := p.poll(t.Context()); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Fatalf("error %v", err)
	}
	if n := len(p.ack); n != p.memory.calls || n < 19 || n > 20+maxStoring || len(p.errs) != 0 {
		t.Errorf("%d acknowledged, %d stored, %d refused", n, p.memory.calls, len(p.errs))
	}
	p.sets(t, false, tokens)
	if !p.once(t) || len(p.ack) != maxPolled || p.memory.calls != maxPolled {
		t.Errorf("%d acknowledged, %d stored", len(p.ack), p.memory.calls)
	}
}

func TestPollReportsWhatItRefuses(t *testing.T) {
	p := newTestPoll(t, Config{})
	bad := map[string]any{
		"good":   p.set(t, "good"),
		"other":  p.set(t, "not other"),
		"exp":    p.signer.sign(t, setType, set(revoked, obj{}, obj{"jti": "exp", "exp": 1})),
		"aud":    p.signer.sign(t, setType, set(revoked, obj{}, obj{"jti": "aud", "aud": "x"})),
		"iss":    p.signer.sign(t, setType, set(revoked, obj{}, obj{"jti": "iss", "iss": "x"})),
		"key":    newSigner(t, "k").sign(t, setType, set(revoked, obj{}, obj{"jti": "key"})),
		"number": 1,
		"user":   p.signer.sign(t, setType, set(revoked, obj{}, obj{"jti": "user", "sub_id": obj{"format": "iss_sub", "iss": "https://other.example", "sub": "u"}})),
	}
	p.sets(t, false, bad)
	p.sets(t, false, bad) // a transmitter that does not hear
	if !p.once(t) {
		t.Error("no progress")
	}
	if p.once(t) {
		t.Error("the same SETs again are progress")
	}
	want := map[string]string{
		"other": invalidRequest, "exp": invalidRequest, "aud": invalidAudience, "iss": invalidIssuer,
		"key": invalidKey, "number": invalidRequest, "user": accessDenied,
	}
	got := p.asked[1]
	if !slices.Equal(got.Ack, []string{"good"}) || len(got.SetErrs) != len(want) || p.headers[1].Get("Content-Language") == "" {
		t.Errorf("asked %+v", got)
	}
	for jti, code := range want {
		if got.SetErrs[jti].Err != code || got.SetErrs[jti].Description == "" {
			t.Errorf("%s: %+v, want %s", jti, got.SetErrs[jti], code)
		}
	}
}

// A SET by a new key waits for the keys, and is refused if they do not come.
func TestPollWaitsForKeys(t *testing.T) {
	old, next := newSigner(t, "old"), newSigner(t, "next")
	var known func() (*jose.KeySet, bool)
	wanted := 0
	p := newTestPoll(t, Config{Keys: func() (*jose.KeySet, bool) { return known() }, KeyWanted: func() { wanted++ }})
	now := moment
	p.now = func() time.Time { return now }
	known = func() (*jose.KeySet, bool) { return nil, false }
	for _, step := range []struct {
		keys     func() (*jose.KeySet, bool)
		at       time.Duration
		jti      string
		fails    bool
		ack, err bool
	}{
		{keys: known, jti: "a", fails: true},
		{keys: keys(t, old), jti: "a"},
		{keys: keys(t, old), at: keyPatience - time.Second, jti: "a"},
		{keys: keys(t, old, next), at: keyPatience - time.Second, jti: "a", ack: true},
		{keys: keys(t, old), at: keyPatience, jti: "b"},
		{keys: keys(t, old), at: 2 * keyPatience, jti: "b", err: true},
	} {
		known, now = step.keys, moment.Add(step.at)
		p.sets(t, false, map[string]any{step.jti: next.sign(t, setType, set(revoked, obj{}, obj{"jti": step.jti}))})
		if _, err := p.poll(t.Context()); (err != nil) != step.fails {
			t.Fatalf("%+v: %v", step, err)
		}
		if (len(p.ack) == 1) != step.ack || (len(p.errs) == 1) != step.err {
			t.Errorf("%+v: ack %v, errs %v", step, p.ack, p.errs)
		}
	}
	if wanted != 4 {
		t.Errorf("keys were wanted %d times", wanted)
	}
}

func TestPollAnswersThatAreNone(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"500":         func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) },
		"401":         func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 401) },
		"202":         func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202) },
		"redirect":    func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/else", 307) },
		"page":        func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"nothing":     func(http.ResponseWriter, *http.Request) {},
		"no sets":     func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") },
		"sets twice":  func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"sets": {}, "sets": {}}`) },
		"sets a list": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"sets": []}`) },
		"cut short": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"sets"`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTestPoll(t, Config{})
			p.ack = []string{"a"}
			p.answers = append(p.answers, answer)
			if _, err := p.poll(t.Context()); err == nil {
				t.Error("no error")
			}
			if p.once(t); len(p.asked) != 2 {
				t.Errorf("%d requests", len(p.asked))
			}
		})
	}
}

// Until the transmitter has answered, it may not have the acknowledgement.
func TestPollRepeatsAcknowledgements(t *testing.T) {
	p := newTestPoll(t, Config{})
	p.ack = []string{"a"}
	p.answers = append(p.answers, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 503) })
	if _, err := p.poll(t.Context()); err == nil {
		t.Fatal("no error")
	}
	p.once(t)
	p.once(t)
	if !slices.Equal(p.asked[1].Ack, []string{"a"}) || len(p.asked[2].Ack) != 0 {
		t.Errorf("asked %+v", p.asked)
	}
}

func TestPollOfTooMuchAsksForLess(t *testing.T) {
	p := newTestPoll(t, Config{})
	p.answer(`{"sets": {"a": "` + strings.Repeat("x", maxPolledBody) + `"}}`)
	if _, err := p.poll(t.Context()); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Fatalf("error %v", err)
	}
	p.once(t)
	p.once(t)
	if p.asked[1].MaxEvents != maxPolled/2 || p.asked[2].MaxEvents != maxPolled {
		t.Errorf("asked %+v", p.asked)
	}
}

func TestPollPause(t *testing.T) {
	p := newTestPoll(t, Config{Interval: 5 * time.Second})
	for failed, most := range map[int]time.Duration{1: 5 * time.Second, 2: 10 * time.Second, 4: 40 * time.Second, 5: time.Minute, 1000: time.Minute} {
		if got := p.pause(failed, errors.New("x")); got < most/2 || got > most {
			t.Errorf("pause %d is %v, want up to %v", failed, got, most)
		}
	}
	if got := p.pause(1, &statusError{status: 429, after: 30 * time.Second}); got != 30*time.Second {
		t.Errorf("asked for 30s, pause %v", got)
	}
	if got := p.pause(1, &statusError{status: 429, after: 24 * time.Hour}); got > time.Minute {
		t.Errorf("asked for a day, pause %v", got)
	}
}

// A long poll that brings nothing is no failure, and no sign of life.
func TestPollOfASilentTransmitter(t *testing.T) {
	p := newTestPoll(t, Config{})
	p.client.Timeout = 20 * time.Millisecond
	p.ack = []string{"a"}
	p.answers = append(p.answers, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if progress, err := p.poll(t.Context()); progress || !errors.Is(err, errSilent) || p.Stats().Failed != 0 {
		t.Errorf("progress %v, error %v", progress, err)
	}
	p.client.Timeout = 0
	p.once(t)
	if !slices.Equal(p.asked[1].Ack, []string{"a"}) {
		t.Errorf("asked %+v", p.asked)
	}
}

func TestPollRun(t *testing.T) {
	p := newTestPoll(t, Config{})
	p.answers = append(p.answers, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) })
	p.sets(t, true, map[string]any{"a": p.set(t, "a")})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	for range 4 {
		<-p.heard
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := p.Stats(); s.Taken != 1 || s.Trouble != "" || s.LastPoll.IsZero() {
		t.Errorf("stats %+v", s)
	}
}
