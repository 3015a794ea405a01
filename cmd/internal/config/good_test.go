package config

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/holdfast-authz/holdfast/extauthz"
)

// sameConfig compares what two files mean, not where they say it.
var sameConfig = cmp.Options{cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateEmpty()}

// good are files that must be accepted, above all those that come close to
// what is refused.
func good(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{
		"minimal":         []byte(minimal),
		"example":         Example,
		"byte-order-mark": []byte("\ufeff" + minimal),
		"windows":         []byte(strings.ReplaceAll("# a comment\n\nmode: monitor\n"+minimal, "\n", "\r\n")),
	}
	archive, err := txtar.ParseFile("testdata/good.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		src := f.Data
		if strings.HasSuffix(f.Name, ".part") {
			src = append(bytes.Clone(src), minimal...)
		}
		out[strings.TrimSuffix(strings.TrimSuffix(f.Name, ".yaml"), ".part")] = src
	}
	return out
}

func mustParse(t testing.TB, src []byte) *Config {
	t.Helper()
	c, problems := Parse("f.yaml", src)
	if c == nil || len(problems) > 0 {
		t.Fatalf("refused: %v\n%s", problems, src)
	}
	return c
}

func TestGood(t *testing.T) {
	for name, src := range good(t) {
		t.Run(name, func(t *testing.T) {
			c := mustParse(t, src)
			routesCompile(t, c)
			for _, effective := range []bool{true, false} {
				out, err := c.YAML(effective)
				if err != nil {
					t.Fatal(err)
				}
				again := mustParse(t, out)
				if diff := cmp.Diff(c, again, sameConfig); diff != "" {
					t.Errorf("effective %v: print changed it (-was +is):\n%s\n%s", effective, diff, out)
				}
				twice, err := again.YAML(effective)
				if diff := cmp.Diff(string(out), string(twice)); diff != "" || err != nil {
					t.Errorf("effective %v: print is not stable: %v\n%s", effective, err, diff)
				}
			}
		})
	}
}

// routesCompile: what is accepted here, extauthz accepts.
func routesCompile(t testing.TB, c *Config) {
	t.Helper()
	p := extauthz.Config{FeedMaxAge: c.Feed.MaxAge, Classes: make([]extauthz.Class, len(c.Classes))}
	for _, r := range c.Routes {
		route := extauthz.Route{Name: r.Name}
		for _, m := range r.Match {
			route.Match = append(route.Match, extauthz.RouteMatch{Hosts: m.Hosts, Paths: m.Paths, Methods: m.Methods})
		}
		p.Routes = append(p.Routes, route)
	}
	if _, err := extauthz.NewPolicy(p); err != nil {
		t.Errorf("accepted, but it makes no policy: %v", err)
	}
}

func TestDefaults(t *testing.T) {
	want := &Config{
		Version: 1,
		Mode:    "enforce",
		Listen: Listen{
			Check: CheckListener{Address: "127.0.0.1:9191"},
			Admin: AdminListener{Address: "127.0.0.1:9292"},
		},
		Issuers: []Issuer{{
			Issuer: "https://idp.example", Audiences: []string{"https://api.example"},
			Algorithms: []string{"ES256", "ES384", "EdDSA", "PS256", "RS256"}, TokenTypes: []string{"at+jwt"},
			ClockSkew: 30 * time.Second, Refresh: 5 * time.Minute,
			Claims: ClaimNames{Session: "sid", Client: "client_id", Tenant: "tenant", Device: "device_id"},
		}},
		Credentials:    []Credential{{Header: "authorization"}},
		Classes:        []Class{{Name: "all", OnFeedStale: "error"}},
		AmbiguousPaths: "reject",
		DPoP:           DPoP{MaxAge: time.Minute, FutureSkew: 5 * time.Second, Replay: "shared", Nonce: "off"},
		MTLS:           MTLS{Source: "connection"},
		Drain:          Drain{Timeout: 20 * time.Second},
		Feed: Feed{
			KeyFile: "data/feed.key", Embedded: &Embedded{Directory: "./data"},
			MaxAge: 10 * time.Second, Retention: 720 * time.Hour, Snapshot: Snapshot{Interval: time.Minute},
		},
		Cache: Cache{
			Tokens:   Memo{TTL: 5 * time.Minute, MaxMB: 64},
			Negative: Memo{TTL: 5 * time.Second, MaxMB: 8},
		},
		Headers: Headers{
			Subject: "x-holdfast-subject", Session: "x-holdfast-session", Class: "x-holdfast-class",
			Remove: []string{"dpop"},
		},
		DecisionLog: DecisionLog{Format: "json", Destination: Destination{Stream: "stdout"}, SampleAllow: 0.01},
		Limits:      Limits{MaxTokenBytes: 8192},
	}
	if diff := cmp.Diff(want, mustParse(t, []byte(minimal)), sameConfig); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestExample: the annotated file states the defaults, and nothing else but
// what has none.
func TestExample(t *testing.T) {
	c, standard := mustParse(t, Example), mustParse(t, []byte(minimal))
	issuer := standard.Issuers[0]
	issuer.JWKSURI = "https://idp.example/jwks"
	if diff := cmp.Diff([]Issuer{issuer}, c.Issuers); diff != "" {
		t.Errorf("issuer, -default +example:\n%s", diff)
	}
	c.Issuers, c.Classes, c.Routes = standard.Issuers, standard.Classes, nil
	if diff := cmp.Diff(standard, c, sameConfig); diff != "" {
		t.Errorf("-default +example:\n%s", diff)
	}
	// It has every key, if only in a comment.
	schema, err := fieldComments()
	if err != nil {
		t.Fatal(err)
	}
	for field, comment := range schema {
		if comment == "" && field != "Destination.Stream" && field != "Destination.File" && field != "Config.file" {
			t.Errorf("%s has no comment to describe it", field)
		}
	}
	for _, key := range allKeys() {
		if !strings.Contains(string(Example), key+":") && key != "streams" && key != "events" {
			t.Errorf("the example does not mention %s", key)
		}
	}
}

func TestValues(t *testing.T) {
	c := mustParse(t, good(t)["everything"])
	if got := c.Classes[0].Match; !cmp.Equal(got, ClassMatch{
		Credential: OneOf{"header"}, Issuers: OneOf{"https://a.example"}, Clients: OneOf{"x", "y"}, Types: OneOf{"JWT", ""},
		Claims: Claims{"mfa": {"true"}, "level": {"2", "3"}, "amr": {"pwd"}},
	}) {
		t.Errorf("match: %+v", got)
	}
	if got := c.DecisionLog; got.Destination != (Destination{File: "/var/log/d.log"}) || got.SampleAllow != 0 {
		t.Errorf("decision log: %+v", got)
	}
	if c.Drain.Timeout != 0 || c.Issuers[0].ClockSkew != 0 || c.Feed.Retention != 1000*time.Hour {
		t.Errorf("durations: %v %v %v", c.Drain.Timeout, c.Issuers[0].ClockSkew, c.Feed.Retention)
	}
	if line, ok := c.Line("classes[0].max_age"); !ok || line == 0 {
		t.Error("no line for a key that the file sets")
	}
	if _, ok := c.Line("classes[1].max_age"); ok {
		t.Error("a line for a key that the file does not set")
	}
}
