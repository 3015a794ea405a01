package server

import (
	"runtime/debug"

	"google.golang.org/grpc/mem"

	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/wire"
)

// Handler appends the answer to one message to dst and returns the longer
// slice, which the server then owns. It runs on the RPC's goroutine, and any
// number at a time. msg and dst are used again once the answer is out: it may
// return no part of msg and keep neither.
type Handler func(dst, msg []byte) []byte

// answer runs the handler on one message. It always has an answer, and never
// one that Envoy would take for an allow that the handler has not given.
func (s *Server) answer(msg []byte) mem.Buffer {
	if !s.inflight.enter() {
		return mem.SliceBuffer(s.overloaded())
	}
	defer s.inflight.leave()
	p := s.answers.Get(0)
	out, ok := s.handle(*p, msg)
	switch {
	case !ok: // dst is lost with the panic: nobody knows who still writes to it
		return mem.SliceBuffer(out)
	case len(out) == 0: // to Envoy an empty CheckResponse is an allow
		return mem.SliceBuffer(s.fault)
	}
	*p = out
	return mem.NewBuffer(p, &s.answers)
}

// handle turns a panic of the handler into an answer.
func (s *Server) handle(dst, msg []byte) (out []byte, ok bool) {
	defer func() {
		if v := recover(); v != nil {
			s.panics.Add(1)
			out, ok = s.panicked(v, debug.Stack()), false
		}
	}()
	return s.config.Check(dst, msg), true
}

// panicked has the owner say what to answer, and says it itself where the
// owner panics too or has nothing to say.
func (s *Server) panicked(value any, stack []byte) (out []byte) {
	if s.config.OnPanic == nil {
		return s.fault
	}
	defer s.orFault(&out)
	return s.config.OnPanic(value, stack)
}

func (s *Server) overloaded() (out []byte) {
	if s.config.Overloaded == nil {
		return s.busy
	}
	defer s.orFault(&out)
	return s.config.Overloaded()
}

func (s *Server) orFault(out *[]byte) {
	if v := recover(); v != nil {
		s.panics.Add(1)
		*out = nil
	}
	if len(*out) == 0 {
		*out = s.fault
	}
}

// unable is the answer of last resort, made once: 503, can not decide.
func unable(r reason.Reason) []byte {
	return wire.AppendResponse(nil, &extauthz.Response{
		Verdict: reason.Unable, Code: 14, Status: 503,
		SetHeaders: []extauthz.Header{
			{Name: "cache-control", Value: "no-store"}, {Name: "content-type", Value: "application/json"},
			{Name: "retry-after", Value: "1"},
		},
		Body:     `{"error":"` + reason.CodeUnavailable + `","decision_id":""}`,
		Metadata: extauthz.Metadata{Decision: reason.Unable, Reason: r, Enforced: true},
	})
}
