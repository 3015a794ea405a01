package admin

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jwks"
)

// feedView is the state of the feed, as GET /v1/feed shows it.
type feedView struct {
	State    string `json:"state"`         // fresh, stale or not_ready
	Sequence uint64 `json:"sequence"`      // of the last record applied
	Age      string `json:"age,omitempty"` // since the feed was last known to be live
	MaxAge   string `json:"max_age"`       // older than this it is stale
	Broken   string `json:"broken,omitempty"`

	*feedDetail

	Replicas []replicaView `json:"replicas,omitempty"` // those heard in the last ten seconds, this one first
}

// feedDetail is what only the feed itself knows.
type feedDetail struct {
	Epoch     string `json:"epoch"`
	Connected bool   `json:"connected"`
	Last      uint64 `json:"last"` // of the last record known to be in the log
	Head      uint64 `json:"head"` // highest record seen before this process started
	Bytes     uint64 `json:"bytes"`
	Breaks    uint64 `json:"breaks"`
	Conflicts uint64 `json:"conflicts"`
}

func (c *Config) feedView(now time.Time) feedView {
	v := feedView{
		State: c.Sync.Health(now, c.MaxAge).String(), Sequence: c.Sync.Number(),
		MaxAge: c.MaxAge.String(), Broken: c.Sync.Broken(),
	}
	if age, ok := c.Sync.Age(now); ok {
		v.Age = age.Round(time.Millisecond).String()
	}
	if c.Replicas != nil {
		v.Replicas = replicaViews(c.Replicas(), now)
	}
	if c.Feed != nil {
		f := c.Feed()
		v.feedDetail = &feedDetail{
			Epoch: fmt.Sprint(f.Epoch), Connected: f.Connected, Last: f.Last, Head: f.Head,
			Bytes: f.Bytes, Breaks: f.Breaks, Conflicts: f.Conflicts,
		}
	}
	return v
}

// feed is GET /v1/feed.
func (s *Server) feed(c *Config, w http.ResponseWriter, _ *request) error {
	writeJSON(w, http.StatusOK, c.feedView(s.now()))
	return nil
}

// statusView is GET /v1/status.
type statusView struct {
	Ready       bool             `json:"ready"`
	Version     string           `json:"version"`
	Started     time.Time        `json:"started"`
	Uptime      string           `json:"uptime"`
	Feed        feedView         `json:"feed"`
	Revocations map[string]int64 `json:"revocations"` // in force, by kind
	Keys        []keysLine       `json:"keys"`
	Checks      []Check          `json:"checks"`
}

type keysLine struct {
	Issuer string `json:"issuer"`
	Usable bool   `json:"usable"`
	Keys   int    `json:"keys"`
}

func (s *Server) statusView(c *Config) statusView {
	now := s.now()
	v := statusView{
		Version: c.Version, Started: s.started.UTC().Round(0), Uptime: now.Sub(s.started).Round(time.Second).String(),
		Feed: c.feedView(now), Revocations: make(map[string]int64), Keys: []keysLine{}, Checks: c.checks(now),
	}
	v.Ready = ready(v.Checks)
	for _, kind := range cache.AllKinds() {
		v.Revocations[kind.String()] = c.Index.Count(kind)
	}
	for _, k := range c.keys() {
		v.Keys = append(v.Keys, keysLine{k.Issuer, k.Usable, len(k.Keys)})
	}
	return v
}

// status is GET /v1/status.
func (s *Server) status(c *Config, w http.ResponseWriter, _ *request) error {
	writeJSON(w, http.StatusOK, s.statusView(c))
	return nil
}

func (c *Config) keys() []jwks.Status {
	if c.Keys == nil {
		return nil
	}
	return c.Keys()
}

// keys is GET /v1/keys.
func (s *Server) keys(c *Config, w http.ResponseWriter, _ *request) error {
	items := c.keys()
	if items == nil {
		items = []jwks.Status{}
	}
	writeJSON(w, http.StatusOK, map[string]any{"items": items})
	return nil
}

// checks are the lines of readiness: the feed's own, and what the process adds.
func (c *Config) checks(now time.Time) []Check {
	f := Check{Name: "feed", OK: true}
	switch c.Sync.Health(now, c.MaxAge) {
	case cache.NotReady:
		f.OK, f.Detail = false, "not read to its end yet"
	case cache.Stale:
		f.OK, f.Detail = false, c.Sync.Broken()
		if age, ok := c.Sync.Age(now); ok && f.Detail == "" {
			f.Detail = fmt.Sprintf("nothing heard for %v, more than %v", age.Round(time.Millisecond), c.MaxAge)
		}
	case cache.Fresh:
	}
	all := []Check{f}
	if c.Checks != nil {
		all = append(all, c.Checks()...)
	}
	return all
}

func ready(checks []Check) bool {
	for _, check := range checks {
		if !check.OK && !check.Advisory {
			return false
		}
	}
	return true
}

// livez is GET /livez: the process answers.
func (s *Server) livez(_ *Config, w http.ResponseWriter, _ *request) error {
	return text(w, http.StatusOK, "ok\n")
}

// readyz is GET /readyz: checks can be answered. It needs no token, so that
// without one it gives the names of what failed and keeps the details.
func (s *Server) readyz(c *Config, w http.ResponseWriter, r *request) error {
	verbose, err := r.flag("verbose")
	if err != nil {
		return err
	}
	all := c.checks(s.now())
	ok := ready(all)
	status := http.StatusOK
	if !ok {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	if !verbose && ok {
		return text(w, status, "ok\n")
	}
	var b strings.Builder
	for _, check := range all {
		switch {
		case check.OK:
			fmt.Fprintf(&b, "[+]%s ok\n", check.Name)
		case check.Detail == "" || !authorized(c, r.Request):
			fmt.Fprintf(&b, "[-]%s failed\n", check.Name)
		default:
			fmt.Fprintf(&b, "[-]%s failed: %s\n", check.Name, escaped(check.Detail))
		}
	}
	if ok {
		b.WriteString("readyz check passed\n")
	} else {
		b.WriteString("readyz check failed\n")
	}
	return text(w, status, b.String())
}

func text(w http.ResponseWriter, status int, body string) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // a client that has gone needs no answer
	return nil
}

// metrics is GET /metrics.
func (s *Server) metrics(c *Config, w http.ResponseWriter, r *request) error {
	if c.Metrics == nil {
		return notFound("there are no metrics here")
	}
	c.Metrics.ServeHTTP(w, r.Request)
	return nil
}

// index is a page for a person who opens the address in a browser.
var index = template.Must(template.New("index").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Holdfast</title>
<h1>Holdfast {{.Status.Version}}</h1>
<p>{{if .Status.Ready}}Ready{{else}}Not ready{{end}}, up {{.Status.Uptime}}. Feed {{.Status.Feed.State}} at record {{.Status.Feed.Sequence}}.</p>
<table><caption>Checks</caption>{{range .Status.Checks}}
<tr><td>{{.Name}}<td>{{if .OK}}ok{{else}}failed{{end}}<td>{{.Detail}}{{end}}
</table>
<table><caption>Revocations in force</caption>{{range $kind, $count := .Status.Revocations}}
<tr><td>{{$kind}}<td>{{$count}}{{end}}
</table>
<ul>{{range .Paths}}
<li><a href="{{.}}">{{.}}</a>{{end}}
</ul>
</html>
`))

// page is GET /.
func (s *Server) page(c *Config, w http.ResponseWriter, _ *request) error {
	var paths []string
	for i := range s.routes {
		if one := &s.routes[i]; one.methods[http.MethodGet] != nil && !strings.HasSuffix(one.path, "/") {
			paths = append(paths, one.path)
		}
	}
	var b bytes.Buffer
	if err := index.Execute(&b, map[string]any{"Status": s.statusView(c), "Paths": paths}); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // a client that has gone needs no answer
	return nil
}
