package receiver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// retryAfter is told to a sender whose token can not be taken now.
	retryAfter = "1"

	// sinkTime bounds the sink, which goes on when the sender has gone: what it
	// would leave undone is done by nobody if the sender does not try again.
	sinkTime = 10 * time.Second
)

// Stats counts what came of the tokens of one receiver.
type Stats struct {
	Taken    uint64 // stored by the sink
	Repeated uint64 // known before, with the same content
	Refused  uint64
	Failed   uint64 // neither: no keys yet, or the sink could not store

	LastTaken   time.Time // stored or repeated; the zero time before the first
	LastRefusal string    // of the last one refused: its code and description

	LastPoll time.Time // the last that was answered as it should; of SSFPoll
	Trouble  string    // why the last poll was not; "" where it was
}

type counters struct {
	taken, repeated, refused, failed atomic.Uint64
	last, poll                       atomic.Pointer[time.Time]
	refusal, trouble                 atomic.Pointer[string]
}

// Stats may be called at any time from any goroutine.
func (r *core) Stats() Stats {
	s := Stats{
		Taken:    r.stats.taken.Load(),
		Repeated: r.stats.repeated.Load(),
		Refused:  r.stats.refused.Load(),
		Failed:   r.stats.failed.Load(),
	}
	s.LastTaken, s.LastPoll = value(&r.stats.last), value(&r.stats.poll)
	s.LastRefusal, s.Trouble = value(&r.stats.refusal), value(&r.stats.trouble)
	return s
}

func value[T any](p *atomic.Pointer[T]) (v T) {
	if at := p.Load(); at != nil {
		v = *at
	}
	return v
}

// take stores the effects of a token, once. It fails with a *Refusal, or with
// what keeps the token from being stored now.
func (r *core) take(ctx context.Context, v *verified, effects []Effect) error {
	_, err := r.takeFresh(ctx, v, effects)
	return err
}

// takeFresh is take, and tells whether the token was not known before.
func (r *core) takeFresh(ctx context.Context, v *verified, effects []Effect) (fresh bool, err error) {
	request := r.source(v).Request
	repeat, err := r.seen.once(ctx, r.now(), request, v.content, func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sinkTime)
		defer cancel()
		return r.Sink(ctx, effects...)
	})
	switch {
	case errors.Is(err, ErrOtherContent):
		return false, malformed("jti was used before, with other content")
	case errors.Is(err, ErrState):
		return false, refuse(invalidState, "the state is none that was asked for")
	case err != nil:
		return false, err
	}
	now := r.now()
	r.stats.last.Store(&now)
	if repeat {
		r.stats.repeated.Add(1)
	} else {
		r.stats.taken.Add(1)
	}
	return !repeat, nil
}

// refused finds the refusal in what went wrong and counts it; nil stands for
// what may succeed later.
func (r *core) refused(err error) *Refusal {
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		r.stats.failed.Add(1)
		return nil
	}
	text := refusal.Error()
	r.stats.refused.Add(1)
	r.stats.refusal.Store(&text)
	return refusal
}

// unavailable answers a sender that should come again.
func unavailable(w http.ResponseWriter) {
	w.Header().Set("Retry-After", retryAfter)
	http.Error(w, "not stored: come again", http.StatusServiceUnavailable)
}

// body reads what was sent. What it can not read it tells by a status.
func body(w http.ResponseWriter, req *http.Request, media string) (text string, status int) {
	if req.Header.Get("Content-Encoding") != "" || !isMedia(req.Header.Get("Content-Type"), media) {
		return "", http.StatusUnsupportedMediaType
	}
	if req.ContentLength > maxBody {
		return "", http.StatusRequestEntityTooLarge
	}
	content, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return "", http.StatusRequestEntityTooLarge
	case err != nil:
		return "", http.StatusBadRequest
	}
	return string(content), http.StatusOK
}
