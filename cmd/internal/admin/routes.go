package admin

import (
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// handler answers one method of one path. What it returns is answered as a
// problem document, so it may return an error only before it has written.
type handler func(s *Server, c *Config, w http.ResponseWriter, r *request) error

// request is what a handler gets.
type request struct {
	*http.Request
	query url.Values
	rest  string    // what follows the path of a route that ends in a slash
	began time.Time // when the request arrived
}

// route is one path. Its methods are a closed list.
type route struct {
	path    string // one that ends in a slash takes one more segment
	open    bool   // needs no token
	methods map[string]handler
	query   []string // the parameters it knows
}

// routes of contract §5, as far as they are built.
func routes() []route {
	get := func(h handler) map[string]handler { return map[string]handler{http.MethodGet: h} }
	post := func(h handler) map[string]handler { return map[string]handler{http.MethodPost: h} }
	return []route{
		{path: "/", methods: get((*Server).page)},
		{path: "/livez", open: true, methods: get((*Server).livez), query: []string{"verbose"}},
		{path: "/readyz", open: true, methods: get((*Server).readyz), query: []string{"verbose"}},
		{path: "/metrics", methods: get((*Server).metrics), query: nil},
		{path: "/v1/status", methods: get((*Server).status)},
		{path: "/v1/feed", methods: get((*Server).feed)},
		{path: "/v1/keys", methods: get((*Server).keys)},
		{path: "/v1/keys:refresh", methods: post((*Server).refreshKeys)},
		{path: "/v1/revocations", query: []string{"kind", "value", "issuer", "limit", "cursor", "wait", "force"},
			methods: map[string]handler{http.MethodGet: (*Server).list, http.MethodPost: (*Server).revoke}},
		{path: "/v1/revocations/", query: []string{"wait"},
			methods: map[string]handler{http.MethodGet: (*Server).get, http.MethodDelete: (*Server).lift}},
	}
}

// ServeHTTP passes a request through the gate to its handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if cause := recover(); cause != nil {
			s.recovered(w, r, cause)
		}
	}()
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	if err := s.serve(w, r); err != nil {
		s.answerError(w, r, err)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	c := s.config.Load()
	to, rest := s.find(r.URL.Path)
	if err := s.gate.Load().pass(c, r, to != nil && to.open); err != nil {
		return err
	}
	if to == nil {
		return notFound("there is nothing at this path")
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http leaves the body out
	}
	handle, ok := to.methods[method]
	if !ok {
		return &problem{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed",
			Detail: "this path does not take that method", header: http.Header{"Allow": {to.allow()}}}
	}
	query, err := to.parameters(r.URL.RawQuery)
	if err != nil {
		return err
	}
	return handle(s, c, w, &request{Request: r, query: query, rest: rest, began: s.now()})
}

func (s *Server) find(path string) (to *route, rest string) {
	for i := range s.routes {
		one := &s.routes[i]
		if one.path == path {
			return one, ""
		}
		if after, ok := strings.CutPrefix(path, one.path); ok && len(one.path) > 1 && strings.HasSuffix(one.path, "/") &&
			after != "" && !strings.Contains(after, "/") {
			return one, after
		}
	}
	return nil, ""
}

func (t *route) allow() string {
	var methods []string
	for m := range t.methods {
		methods = append(methods, m)
		if m == http.MethodGet {
			methods = append(methods, http.MethodHead)
		}
	}
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}

// parameters reads the query. One that is not known is refused: a misspelt
// filter would show too much, and a secret has no place in a URL.
func (t *route) parameters(raw string) (url.Values, error) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, invalid("the query can not be read")
	}
	for name, values := range query {
		if !t.open && !slices.Contains(t.query, name) { // a probe may add what it likes
			return nil, invalid("unknown query parameter; this path takes: %s", strings.Join(t.query, ", "))
		}
		if len(values) > 1 {
			return nil, invalid("the query parameter %s is there twice", name)
		}
	}
	return query, nil
}

// flag reads a parameter that is on by being there, unless it says otherwise.
func (r *request) flag(name string) (bool, error) {
	if !r.query.Has(name) {
		return false, nil
	}
	switch r.query.Get(name) {
	case "", "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, invalid("%s is neither true nor false", name)
}

// wait reads ?wait; zero is none.
func (r *request) wait() (time.Duration, error) {
	if !r.query.Has("wait") {
		return 0, nil
	}
	d, err := time.ParseDuration(r.query.Get("wait"))
	if err != nil || d <= 0 || d > maxWait {
		return 0, invalid("wait is a duration above 0 and up to %v, such as 2s", maxWait)
	}
	return d, nil
}

// isJSON checks the content type. It keeps out what a form of another site can
// send without asking first.
func (r *request) isJSON() bool {
	types := r.Header.Values("Content-Type")
	if len(types) != 1 || r.Header.Get("Content-Encoding") != "" {
		return false
	}
	kind, params, err := mime.ParseMediaType(types[0])
	if err != nil || kind != "application/json" {
		return false
	}
	charset, ok := params["charset"]
	return !ok || strings.EqualFold(charset, "utf-8")
}
