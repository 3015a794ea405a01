package receiver

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	defaultVerifyInterval = time.Minute
	verifyTimeout         = 10 * time.Second
	firstVerifyPause      = time.Second // after a failure; it doubles up to the interval
	maxVerifyPause        = time.Hour   // that a transmitter may ask for

	// stateLife is how long a state that we asked for is known as ours. An event
	// waits in a transmitter's outbox until its stream works again.
	stateLife = 24 * time.Hour
	// maxClockError is how far the clocks of two replicas may be apart.
	maxClockError = time.Minute

	minStateKey = 16 // bytes
	stateBytes  = 8 + 16
)

// VerifyConfig says where to ask for verification events.
type VerifyConfig struct {
	URL      string // the transmitter's verification endpoint; required
	Issuer   string // the transmitter; required
	Audience string // of its stream

	Client   *http.Client  // to ask with; redirects are not followed; required
	Interval time.Duration // between requests; 0: 1m

	// Bearer gives the secret that a request shows. nil: none.
	Bearer func() string
	// Stream gives the id of the stream, which SSF 1.0 wants in the request: the
	// Stream of the last Effect that had one. nil, or "" while it is not known:
	// left out, for transmitters with one stream a receiver.
	Stream func() string

	// Key makes the states: one for all replicas, of at least 16 bytes, since an
	// event goes to any of them. nil: a random one, and then an event that
	// another replica asked for, or this one before its restart, has the wrong
	// state.
	Key []byte
}

// SSFVerify asks a transmitter for verification events (SSF 1.0, 8.1.4), of
// which a stream that has nothing else to say is known to work. The events come
// as all others do, by push or poll, as Effects of the Op Verified.
//
// Nothing is kept of what was asked. A state is the time and a MAC of it, so
// that every replica with the same key knows it, and when it was asked for: an
// event that lay in an outbox for an hour is no word of the stream as it is now.
type SSFVerify struct {
	c      VerifyConfig
	client http.Client
	key    []byte

	asked, limited, failed atomic.Uint64
	last                   atomic.Pointer[time.Time]
	trouble                atomic.Pointer[string]
}

// VerifyStats counts what came of the requests.
type VerifyStats struct {
	Asked   uint64 // taken by the transmitter
	Limited uint64 // refused as too many (429): another replica asked just now
	Failed  uint64

	LastAsked time.Time // taken by the transmitter; the zero time before the first
	Trouble   string    // why the last request failed; "" where it did not
}

// NewSSFVerify makes an asker that asks nothing before Run.
func NewSSFVerify(c VerifyConfig) (*SSFVerify, error) {
	switch {
	case c.URL == "" || c.Issuer == "" || c.Client == nil:
		return nil, errors.New("asking for verification events needs a URL, an issuer and an HTTP client")
	case c.Interval < 0:
		return nil, errors.New("interval of asking for verification events is negative")
	case c.Key != nil && len(c.Key) < minStateKey:
		return nil, fmt.Errorf("key of verification states has %d bytes, not %d or more", len(c.Key), minStateKey)
	}
	if c.Interval == 0 {
		c.Interval = defaultVerifyInterval
	}
	v := &SSFVerify{c: c, client: *c.Client, key: bytes.Clone(c.Key)}
	if v.key == nil {
		v.key = make([]byte, sha256.Size)
		rand.Read(v.key) // never fails
	}
	// An endpoint that moves is configured anew: it gets our secret.
	v.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return v, nil
}

// Stats may be called at any time from any goroutine.
func (v *SSFVerify) Stats() VerifyStats {
	return VerifyStats{
		Asked: v.asked.Load(), Limited: v.limited.Load(), Failed: v.failed.Load(),
		LastAsked: value(&v.last), Trouble: value(&v.trouble),
	}
}

// Check tells whether the state of a verification event is one of ours, and when
// it was asked for. A Sink answers ErrState to one that is not. An event without
// a state is one that nobody asked for (8.1.4), and no matter of Check.
func (v *SSFVerify) Check(state string, now time.Time) (asked time.Time, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(state)
	if err != nil || len(raw) != stateBytes {
		return time.Time{}, false
	}
	at := binary.BigEndian.Uint64(raw)
	if !hmac.Equal(raw, v.stateAt(at)) {
		return time.Time{}, false
	}
	asked = time.Unix(int64(at), 0).UTC()
	return asked, now.Sub(asked) <= stateLife && asked.Sub(now) <= maxClockError
}

// state is what an event that is asked for now is to bring back.
func (v *SSFVerify) state(now time.Time) string {
	return base64.RawURLEncoding.EncodeToString(v.stateAt(uint64(now.Unix())))
}

func (v *SSFVerify) stateAt(seconds uint64) []byte {
	raw := binary.BigEndian.AppendUint64(make([]byte, 0, stateBytes), seconds)
	mac := hmac.New(sha256.New, v.key)
	fmt.Fprintf(mac, "holdfast verification %d %s %d %s ", len(v.c.Issuer), v.c.Issuer, len(v.c.Audience), v.c.Audience)
	mac.Write(raw)
	return append(raw, mac.Sum(nil)[:stateBytes-len(raw)]...)
}

// Run asks at once and then at each interval until ctx ends, which is no error.
// After a failure it asks sooner, but ever more slowly; what the transmitter
// wants to be left in peace for is granted, up to an hour.
func (v *SSFVerify) Run(ctx context.Context) error {
	for failed := 0; ; {
		now := time.Now()
		answer := v.ask(ctx, v.state(now))
		select {
		case <-ctx.Done(): // before the answer, which is then none
			return nil
		default:
		}
		wait := v.c.Interval
		switch {
		case answer.status/100 == 2: // that the stream works is known by the event
			failed = 0
			v.asked.Add(1)
			v.last.Store(&now)
		case answer.status == http.StatusTooManyRequests:
			failed = 0
			v.limited.Add(1)
		default:
			wait = min(firstVerifyPause<<min(failed, 10), v.c.Interval)
			wait = wait/2 + mathrand.N(wait/2+1)
			failed++
			v.failed.Add(1)
		}
		trouble := answer.trouble()
		v.trouble.Store(&trouble)
		timer := time.NewTimer(max(wait, min(answer.after, maxVerifyPause)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// verifyAnswer is what came of a request. Its body is not read.
type verifyAnswer struct {
	status int
	after  time.Duration // Retry-After
	err    error         // there was none
}

func (a *verifyAnswer) trouble() string {
	const doing = "ask for a verification event: "
	switch {
	case a.err != nil:
		return doing + a.err.Error()
	case a.status/100 == 2 || a.status == http.StatusTooManyRequests:
		return ""
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		return fmt.Sprintf(doing+"status %d: the transmitter does not accept the bearer token", a.status)
	case a.status == http.StatusNotFound:
		return doing + "status 404: no such stream, or not the verification endpoint"
	}
	return fmt.Sprintf(doing+"status %d", a.status)
}

// ask sends one request (8.1.4.2).
func (v *SSFVerify) ask(ctx context.Context, state string) *verifyAnswer {
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	ask := struct {
		Stream string `json:"stream_id,omitempty"`
		State  string `json:"state"`
	}{State: state}
	if v.c.Stream != nil {
		ask.Stream = v.c.Stream()
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return &verifyAnswer{err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.c.URL, bytes.NewReader(body))
	if err != nil {
		return &verifyAnswer{err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "holdfast")
	if v.c.Bearer != nil { // asked each time: it may be renewed
		req.Header.Set("Authorization", "Bearer "+v.c.Bearer())
	}
	res, err := v.client.Do(req)
	if err != nil {
		return &verifyAnswer{err: err}
	}
	defer res.Body.Close()
	seconds, _ := strconv.ParseUint(res.Header.Get("Retry-After"), 10, 16)
	return &verifyAnswer{status: res.StatusCode, after: time.Duration(seconds) * time.Second}
}
