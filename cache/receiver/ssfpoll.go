package receiver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

const (
	defaultInterval = 5 * time.Second
	maxInterval     = time.Minute // between polls that fail
	minInterval     = 20 * time.Millisecond

	// longPoll is how long a transmitter may hold a poll open until it has
	// something to say (RFC 8936, 2.2, returnImmediately).
	longPoll = time.Minute

	maxPolled     = 100     // SETs in an answer
	maxStoring    = 16      // of them, at the same time
	maxPolledBody = 4 << 20 // bytes of an answer

	// keyPatience is how long a SET by an unknown key is left with the
	// transmitter: its keys may have changed before we heard of it, and a SET
	// that was refused is not sent again.
	keyPatience = time.Minute
)

// errSilent is a poll without an answer: of a transmitter that has nothing to say
// for longer than we listen, or is not there. Stats.LastPoll tells which.
var errSilent = errors.New("poll for SETs: no answer in time")

// SSFPoll takes the SETs of one stream from its transmitter (RFC 8936). A SET is
// acknowledged with the poll after its effects were stored, which is sent at
// once; one that will never be taken is reported in setErrs, so that it does not
// hold up the others. What can not be stored now stays with the transmitter.
type SSFPoll struct {
	*core
	client http.Client

	// These are Run's.
	ack     []string               // stored, not yet acknowledged
	errs    map[string]wireRefusal // refused, not yet reported
	waiting map[string]time.Time   // by unknown keys, since when
	most    int                    // SETs to ask for
}

// NewSSFPoll makes the poller of one stream.
func NewSSFPoll(c Config) (*SSFPoll, error) {
	r, err := newCore(c)
	if err != nil {
		return nil, err
	}
	if c.URL == "" || c.Client == nil {
		return nil, errors.New("receiver that polls needs a URL and an HTTP client")
	}
	if r.Interval == 0 {
		r.Interval = defaultInterval
	}
	p := &SSFPoll{core: r, client: *c.Client, most: maxPolled}
	// A transmitter that moves is configured anew: it gets our secret.
	p.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return p, nil
}

// Run polls until ctx ends, which is no error.
func (p *SSFPoll) Run(ctx context.Context) error {
	for failed := 0; ; {
		began := time.Now()
		progress, err := p.poll(ctx)
		now, trouble := p.now(), ""
		wait := max(p.Interval-time.Since(began), minInterval) // it may have been a long poll
		switch {
		case ctx.Err() != nil: // over
		case errors.Is(err, errSilent):
			failed, trouble = 0, err.Error()
		case err != nil:
			failed++
			wait, trouble = p.pause(failed, err), err.Error()
		case progress:
			wait = minInterval
			fallthrough
		default:
			failed = 0
			p.stats.poll.Store(&now)
		}
		p.stats.trouble.Store(&trouble)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// pause grows with each failure in a row; what the transmitter asks for, up to
// a limit, is granted.
func (p *SSFPoll) pause(failed int, err error) time.Duration {
	pause := min(p.Interval<<min(failed-1, 10), maxInterval)
	pause = pause/2 + rand.N(pause/2+1)
	var status *statusError
	if errors.As(err, &status) {
		pause = max(pause, min(status.after, maxInterval))
	}
	return pause
}

// poll asks once and takes what comes. progress is false where nothing new came:
// then there is no hurry, whatever moreAvailable says. Where something did, the
// next poll brings its acknowledgement and what more there is.
func (p *SSFPoll) poll(ctx context.Context) (progress bool, err error) {
	answer, err := p.ask(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return false, errSilent
	}
	if err != nil {
		p.stats.failed.Add(1)
		return false, err
	}
	reported := p.errs
	p.ack, p.errs = nil, nil // the transmitter has them
	member, _ := answer.Get("sets")
	sets, ok := member.Object()
	if !ok {
		return false, errors.New("poll for SETs: the answer has no object sets")
	}
	held := p.waiting
	p.waiting = nil
	for _, one := range p.all(ctx, sets.Members(), held) {
		switch {
		case one.stored:
			p.ack = append(p.ack, one.key) // a repeat is acknowledged again (2.4)
			progress = progress || one.fresh
		case one.refusal != nil:
			if p.errs == nil {
				p.errs = make(map[string]wireRefusal)
			}
			p.errs[one.key] = wireRefusal{one.refusal.Code, one.refusal.Description}
			_, before := reported[one.key]
			progress = progress || !before // who does not hear setErrs is not asked faster for it
		case !one.since.IsZero():
			if p.waiting == nil {
				p.waiting = make(map[string]time.Time)
			}
			p.waiting[one.key] = one.since
		case one.err != nil:
			err = one.err
		}
	}
	return progress, err
}

// polled is what came of one SET of an answer: it was stored, refused, left with
// the transmitter until its key is known, or could not be stored now. The zero
// value was not tried.
type polled struct {
	key           string // its name in sets
	stored, fresh bool   // fresh: not known before
	refusal       *Refusal
	since         time.Time // when its key was first not known
	err           error
}

// all takes the SETs of an answer, some at the same time, so that a sink may
// store them together. Where one can not be stored no more are begun.
func (p *SSFPoll) all(ctx context.Context, sets []jose.Member, held map[string]time.Time) []polled {
	results := make([]polled, len(sets))
	slots := make(chan struct{}, maxStoring)
	var broken atomic.Bool
	var wait sync.WaitGroup
	for i, m := range sets {
		slots <- struct{}{}
		if broken.Load() {
			break
		}
		wait.Go(func() {
			defer func() { <-slots }()
			results[i] = p.one(ctx, m.Name, m.Value, held)
			if results[i].err != nil {
				broken.Store(true)
			}
		})
	}
	wait.Wait()
	return results
}

// one takes one SET.
func (p *SSFPoll) one(ctx context.Context, key string, value jose.Value, held map[string]time.Time) (result polled) {
	result.key = key
	now := p.now()
	raw, ok := value.Text()
	v, effects, err := p.readSET(raw, now)
	switch {
	case !ok:
		err = malformed("the SET is not a string")
	case err == nil && v.jti != key: // RFC 8936, 2.3
		err = malformed("jti is not the name that the SET has in sets")
	}
	var unknown errKeyUnknown
	if errors.As(err, &unknown) {
		since, ok := held[key]
		if !ok {
			since = now
		}
		if now.Sub(since) < keyPatience {
			p.stats.failed.Add(1)
			result.since = since
			return result
		}
	}
	if err == nil {
		result.fresh, err = p.takeFresh(ctx, v, effects)
	}
	if err == nil {
		result.stored = true
		return result
	}
	if result.refusal = p.refused(err); result.refusal == nil {
		result.err = fmt.Errorf("take a polled SET: %w", err)
	}
	return result
}

// statusError is an answer that is none. Its body is not read (RFC 8936, 2.5.1).
type statusError struct {
	status int
	after  time.Duration // Retry-After
}

func (e *statusError) Error() string {
	why := ""
	if e.status == http.StatusUnauthorized || e.status == http.StatusForbidden {
		why = ": the transmitter does not accept the bearer token"
	}
	return fmt.Sprintf("poll for SETs: status %d%s", e.status, why)
}

// ask sends a poll (2.2) and reads its answer (2.3).
func (p *SSFPoll) ask(ctx context.Context) (*jose.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, longPoll)
	defer cancel()
	ask := struct {
		Most    int                    `json:"maxEvents"`
		Ack     []string               `json:"ack,omitempty"`
		SetErrs map[string]wireRefusal `json:"setErrs,omitempty"`
	}{p.most, p.ack, p.errs}
	body, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "holdfast")
	if len(p.errs) > 0 {
		req.Header.Set("Content-Language", "en") // 2.6
	}
	if p.Bearer != nil { // asked each time: it may be renewed
		req.Header.Set("Authorization", "Bearer "+p.Bearer())
	}
	res, err := p.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("poll for SETs: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		seconds, _ := strconv.ParseUint(res.Header.Get("Retry-After"), 10, 16)
		return nil, &statusError{res.StatusCode, time.Duration(seconds) * time.Second}
	}
	doc, err := io.ReadAll(io.LimitReader(res.Body, maxPolledBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("poll for SETs: %w", err)
	case len(doc) > maxPolledBody:
		p.most = max(p.most/2, 1)
		return nil, fmt.Errorf("poll for SETs: the answer has more than %d bytes; %d SETs are asked for next", maxPolledBody, p.most)
	}
	p.most = maxPolled
	answer, err := jose.ParseObjectLarge(doc, maxPolledBody)
	if err != nil {
		return nil, fmt.Errorf("poll for SETs: read the answer: %w", err)
	}
	return answer, nil
}
