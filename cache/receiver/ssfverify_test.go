package receiver

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// verifyAsked is a request to the verification endpoint.
type verifyAsked struct {
	method, media, authorization string
	body                         map[string]string
}

func newVerify(t *testing.T, c VerifyConfig) *SSFVerify {
	t.Helper()
	c.Issuer, c.Audience = idp, edge
	v, err := NewSSFVerify(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// start runs v; end, which a bubble wants called in it, ends that.
func (v *SSFVerify) start(t *testing.T) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// What is sent, by real HTTP: with all that may be configured, and with least.
func TestVerifyRequest(t *testing.T) {
	asked := make(chan verifyAsked, 1000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ask := verifyAsked{method: req.Method, media: req.Header.Get("Content-Type"), authorization: strings.Join(req.Header.Values("Authorization"), ",")}
		if err := json.NewDecoder(req.Body).Decode(&ask.body); err != nil {
			t.Errorf("request is not JSON: %v", err)
		}
		w.WriteHeader(http.StatusNoContent)
		asked <- ask
	}))
	defer server.Close()
	for _, c := range []struct {
		name, authorization, stream string
		config                      VerifyConfig
	}{
		{"all", "Bearer secret", "stream-1", VerifyConfig{Bearer: func() string { return "secret" }, Stream: func() string { return "stream-1" }}},
		{"stream not known yet", "", "", VerifyConfig{Stream: func() string { return "" }}},
		{"least", "", "", VerifyConfig{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.URL, c.config.Client, c.config.Interval = server.URL+"/verify", server.Client(), time.Millisecond
			v := newVerify(t, c.config)
			end := v.start(t)
			for range 2 {
				ask := <-asked
				if ask.method != http.MethodPost || ask.media != "application/json" || ask.authorization != c.authorization {
					t.Errorf("request %+v", ask)
				}
				if stream, ok := ask.body["stream_id"]; stream != c.stream || ok != (c.stream != "") {
					t.Errorf("stream_id %q, not %q", stream, c.stream)
				}
				at, ok := v.Check(ask.body["state"], time.Now())
				if age := time.Since(at); !ok || age < 0 || age > time.Minute {
					t.Errorf("state %q: asked %v, %v", ask.body["state"], at, ok)
				}
			}
			end()
			for len(asked) > 0 {
				<-asked
			}
			if s := v.Stats(); s.Asked == 0 || s.Trouble != "" || s.LastAsked.IsZero() {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

// answering is a transmitter without a network: a bubble has none.
type answering http.HandlerFunc

func (a answering) RoundTrip(req *http.Request) (res *http.Response, err error) {
	w := httptest.NewRecorder()
	defer func() {
		if r := recover(); r != nil {
			res, err = nil, http.ErrAbortHandler
		}
	}()
	a(w, req)
	return w.Result(), nil
}

func status(code int, after string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.WriteHeader(code)
	}
}

// What is no success is trouble, but for 429.
func TestVerifyAnswers(t *testing.T) {
	for _, c := range []struct {
		name    string
		answer  http.HandlerFunc
		stats   VerifyStats
		trouble string
	}{
		{"204", status(204, ""), VerifyStats{Asked: 1}, ""},
		{"200", status(200, ""), VerifyStats{Asked: 1}, ""},
		{"401", status(401, ""), VerifyStats{Failed: 1}, "does not accept the bearer token"},
		{"404", status(404, ""), VerifyStats{Failed: 1}, "no such stream"},
		{"429", status(429, ""), VerifyStats{Limited: 1}, ""},
		{"500", status(500, ""), VerifyStats{Failed: 1}, "status 500"},
		{"redirect", func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, "/elsewhere", http.StatusTemporaryRedirect)
		}, VerifyStats{Failed: 1}, "status 307"},
		{"hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, VerifyStats{Failed: 1}, "ask for a verification event"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVerify(t, VerifyConfig{URL: idp + "/verify", Client: &http.Client{Transport: answering(c.answer)}})
				defer v.start(t)()
				synctest.Wait()
				got := v.Stats()
				if (c.trouble == "") != (got.Trouble == "") || !strings.Contains(got.Trouble, c.trouble) {
					t.Errorf("trouble %q, not %q", got.Trouble, c.trouble)
				}
				got.Trouble, got.LastAsked = "", time.Time{}
				if got != c.stats {
					t.Errorf("stats %+v, not %+v", got, c.stats)
				}
			})
		})
	}
}

// When it asks: at once, soon after a failure but ever more slowly, at the
// interval when all is well, and not before Retry-After.
func TestVerifyPace(t *testing.T) {
	steps := []struct {
		answer   http.HandlerFunc
		from, to time.Duration // until the next request
	}{
		{status(500, ""), time.Second / 2, time.Second},
		{status(500, ""), time.Second, 2 * time.Second},
		{status(500, ""), 2 * time.Second, 4 * time.Second},
		{status(500, ""), 3 * time.Second, 6 * time.Second}, // the interval bounds it
		{status(204, ""), 6 * time.Second, 6 * time.Second},
		{status(500, ""), time.Second / 2, time.Second},
		{status(429, ""), 6 * time.Second, 6 * time.Second},
		{status(429, "100"), 100 * time.Second, 100 * time.Second},
		{status(503, "65535"), time.Hour, time.Hour},
		{status(503, "tomorrow"), time.Second, 2 * time.Second},
	}
	synctest.Test(t, func(t *testing.T) {
		at := make(chan time.Time, 100)
		n := 0
		v := newVerify(t, VerifyConfig{
			URL: idp + "/verify", Interval: 6 * time.Second,
			Client: &http.Client{Transport: answering(func(w http.ResponseWriter, req *http.Request) {
				at <- time.Now()
				if n < len(steps) {
					steps[n].answer(w, req)
				}
				n++
			})},
		})
		last := time.Now()
		defer v.start(t)()
		if first := <-at; !first.Equal(last) {
			t.Errorf("first asked after %v", first.Sub(last))
		}
		for i, s := range steps {
			next := <-at
			if pause := next.Sub(last); pause < s.from || pause > s.to {
				t.Errorf("pause %d is %v, not %v to %v", i, pause, s.from, s.to)
			}
			last = next
		}
		synctest.Wait()
		if s := v.Stats(); s.Trouble != "" {
			t.Errorf("trouble %q after a success", s.Trouble)
		}
	})
}

// A transmitter that takes the request and says nothing holds it up for so long.
func TestVerifySilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, ended := make(chan time.Time, 2), make(chan time.Time, 2)
		v := newVerify(t, VerifyConfig{URL: idp + "/verify", Client: &http.Client{Transport: answering(func(_ http.ResponseWriter, req *http.Request) {
			begun <- time.Now()
			<-req.Context().Done()
			ended <- time.Now()
			panic(http.ErrAbortHandler)
		})}})
		defer v.start(t)()
		if took := (<-ended).Sub(<-begun); took != verifyTimeout {
			t.Errorf("waited %v, not %v", took, verifyTimeout)
		}
		<-begun // it asks again
		if s := v.Stats(); s.Failed != 1 || s.Trouble == "" {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestVerifyState(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	asker := func(change func(*VerifyConfig)) *SSFVerify {
		c := VerifyConfig{URL: idp + "/verify", Issuer: idp, Audience: edge, Client: http.DefaultClient, Key: key}
		change(&c)
		v, err := NewSSFVerify(c)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	same := func(*VerifyConfig) {}
	a := asker(same)
	state := a.state(moment)
	for _, c := range []struct {
		name  string
		v     *SSFVerify
		state string
		later time.Duration
		ok    bool
	}{
		{"at once", a, state, 0, true},
		{"by another replica", asker(same), state, time.Minute, true},
		{"whose clock is behind", asker(same), state, -maxClockError, true},
		{"whose clock is too far behind", asker(same), state, -maxClockError - time.Second, false},
		{"after a day", a, state, stateLife, true},
		{"after more than a day", a, state, stateLife + time.Second, false},
		{"of another issuer", asker(func(c *VerifyConfig) { c.Issuer += "/" }), state, 0, false},
		{"of another audience", asker(func(c *VerifyConfig) { c.Audience += "2" }), state, 0, false},
		{"where they meet", asker(func(c *VerifyConfig) { c.Issuer, c.Audience = idp+" 20 "+edge, "" }), state, 0, false},
		{"of another key", asker(func(c *VerifyConfig) { c.Key = bytes.Repeat([]byte{8}, 32) }), state, 0, false},
		{"of a random key", asker(func(c *VerifyConfig) { c.Key = nil }), state, 0, false},
		{"empty", a, "", 0, false},
		{"short", a, state[:len(state)-4], 0, false},
		{"long", a, state + "AAAA", 0, false},
		{"padded", a, state + "=", 0, false},
		{"of another time", a, state[:10] + flipped(state[10]) + state[11:], 0, false},
		{"with another MAC", a, state[:31] + flipped(state[31]), 0, false},
	} {
		asked, ok := c.v.Check(c.state, moment.Add(c.later))
		if ok != c.ok || ok && !asked.Equal(moment) {
			t.Errorf("%s: %v, %v; want %v", c.name, asked, ok, c.ok)
		}
	}
	own := asker(func(c *VerifyConfig) { c.Key = nil })
	if _, ok := own.Check(own.state(moment), moment); !ok {
		t.Error("a random key does not know its own state")
	}
	key[0]++ // the caller's
	if _, ok := a.Check(state, moment); !ok {
		t.Error("the key is not a copy")
	}
}

// flipped is another letter of base64.
func flipped(letter byte) string {
	if letter == 'A' {
		return "B"
	}
	return "A"
}

func TestVerifyConfig(t *testing.T) {
	good := VerifyConfig{URL: idp + "/verify", Issuer: idp, Client: http.DefaultClient}
	for _, c := range []struct {
		want   string
		change func(*VerifyConfig)
	}{
		{"needs a URL", func(c *VerifyConfig) { c.URL = "" }},
		{"an issuer", func(c *VerifyConfig) { c.Issuer = "" }},
		{"an HTTP client", func(c *VerifyConfig) { c.Client = nil }},
		{"negative", func(c *VerifyConfig) { c.Interval = -1 }},
		{"has 15 bytes", func(c *VerifyConfig) { c.Key = make([]byte, 15) }},
		{"has 0 bytes", func(c *VerifyConfig) { c.Key = []byte{} }},
	} {
		bad := good
		c.change(&bad)
		if _, err := NewSSFVerify(bad); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, not %q", err, c.want)
		}
	}
	if v, err := NewSSFVerify(good); err != nil || v.c.Interval != time.Minute {
		t.Errorf("%+v, %v", v, err)
	}
}
