package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
)

// problem is an RFC 9457 problem document. Handlers return it as their error.
type problem struct {
	Type   string  `json:"type"`
	Title  string  `json:"title"`
	Status int     `json:"status"`
	Code   string  `json:"code"`
	Detail string  `json:"detail,omitempty"`
	Errors []fault `json:"errors,omitempty"`

	header http.Header // of the answer
}

// fault is one thing that is wrong with a body; Pointer is RFC 6901.
type fault struct {
	Pointer string `json:"pointer"`
	Detail  string `json:"detail"`
}

func (p *problem) Error() string { return p.Code + ": " + p.Detail }

// invalid is a 400 without a pointer.
func invalid(format string, args ...any) *problem {
	return &problem{Status: http.StatusBadRequest, Code: "invalid_request", Detail: fmt.Sprintf(format, args...)}
}

func notFound(what string) *problem {
	return &problem{Status: http.StatusNotFound, Code: "not_found", Detail: what}
}

// unavailable is a 503 that may be tried again.
func unavailable(code, detail string) *problem {
	return &problem{Status: http.StatusServiceUnavailable, Code: code, Detail: detail,
		header: http.Header{"Retry-After": {"1"}}}
}

// answerError writes a handler's error. One that is no problem document is a
// fault of ours: it is logged, and not told.
func (s *Server) answerError(w http.ResponseWriter, r *http.Request, err error) {
	var p *problem
	if !errors.As(err, &p) {
		s.log.Error("admin request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		p = &problem{Status: http.StatusInternalServerError, Code: "internal", Detail: "a fault of ours; the log says more"}
	}
	doc := *p
	doc.Type, doc.Title = "urn:holdfast:problem:"+p.Code, http.StatusText(p.Status)
	for name, values := range p.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/problem+json")
	writeJSON(w, p.Status, &doc)
}

// recovered turns a panic into a 500. What was being done has failed; the
// process goes on.
func (s *Server) recovered(w http.ResponseWriter, r *http.Request, cause any) {
	if cause == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
		panic(cause)
	}
	s.log.Error("panic in an admin request", "method", r.Method, "path", r.URL.Path, "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
	s.answerError(w, r, &problem{Status: http.StatusInternalServerError, Code: "internal", Detail: "a fault of ours; the log says more"})
}

// writeJSON writes an answer; the content type stays where it is set already.
func writeJSON(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // our own types
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // a client that has gone needs no answer
}
