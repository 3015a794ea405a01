package server

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/wire"
)

// Decider turns a CheckRequest's bytes into a CheckResponse's: read, decide,
// write. It knows no transport.
type Decider struct {
	checker *extauthz.Checker
	observe func(req *extauthz.Request, d *extauthz.Decision, took time.Duration)
	ids     ids
	states  sync.Pool
}

// state is what one check needs and the next one uses again.
type state struct {
	req extauthz.Request
	d   extauthz.Decision
	res extauthz.Response
	id  [32]byte // 12 hex digits, a dash, 13 digits of base 36
}

// NewDecider makes a Decider. observe sees every decision after its answer is
// written; it may not keep anything of what it is given. It may be nil.
func NewDecider(c *extauthz.Checker, observe func(*extauthz.Request, *extauthz.Decision, time.Duration)) *Decider {
	d := &Decider{checker: c, observe: observe, ids: newIDs()}
	d.states.New = func() any { return new(state) }
	return d
}

// Check is a Handler.
func (c *Decider) Check(dst, msg []byte) []byte {
	return c.answer(dst, func(s *state, now time.Time) {
		if err := wire.DecodeCheck(msg, &s.req); err != nil {
			s.req.Reset()
			s.d.Detail = "not a CheckRequest: " + err.Error()
			c.checker.Refuse(reason.RequestMalformed, &s.d)
			return
		}
		c.checker.Check(&s.req, now, &s.d)
	})
}

// Overloaded answers a check that there is no room for.
func (c *Decider) Overloaded() []byte {
	return c.answer(nil, func(s *state, _ time.Time) {
		s.d.Detail = "too many checks in flight"
		c.checker.Refuse(reason.Overloaded, &s.d)
	})
}

// Fault answers a check that ended in a panic: can not decide, whatever the mode.
func (c *Decider) Fault() []byte {
	return c.answer(nil, func(s *state, _ time.Time) {
		s.d.Detail = "panic in a check; the log has it"
		c.checker.Refuse(reason.Internal, &s.d)
	})
}

func (c *Decider) answer(dst []byte, decide func(*state, time.Time)) []byte {
	now := time.Now()
	s := c.states.Get().(*state)
	s.req.Reset()
	s.d.Reset()
	s.res.Reset()
	s.d.ID = c.ids.next(&s.id)
	decide(s, now)
	s.d.Respond(&s.req, &s.res)
	dst = wire.AppendResponse(dst, &s.res)
	if c.observe != nil {
		c.observe(&s.req, &s.d, time.Since(now))
	}
	// After a panic the state is left to the garbage collector: nobody knows
	// what it holds.
	c.states.Put(s)
	return dst
}

// ids makes decision ids: a random part for the process, a number for the
// decision. They name records; nothing rests on their being secret.
type ids struct {
	process string
	number  atomic.Uint64
}

func newIDs() ids {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand, Go 1.24
	return ids{process: hex.EncodeToString(b[:])}
}

// next writes an id into buf, which the string aliases.
func (i *ids) next(buf *[32]byte) string {
	id := append(buf[:0], i.process...)
	id = append(id, '-')
	id = strconv.AppendUint(id, i.number.Add(1), 36)
	return unsafe.String(&id[0], len(id))
}
