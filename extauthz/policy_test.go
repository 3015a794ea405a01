package extauthz

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-authz/holdfast/extauthz/proof"
)

func minimal(c Config) Config {
	if c.Classes == nil {
		c.Classes = []Class{{Name: "any"}}
	}
	if c.FeedMaxAge == 0 {
		c.FeedMaxAge = 10 * time.Second
	}
	return c
}

func mustPolicy(t testing.TB, c Config) *Policy {
	t.Helper()
	p, err := NewPolicy(minimal(c))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNewPolicyRefuses(t *testing.T) {
	for name, c := range map[string]Config{
		"no classes":                {Classes: []Class{}, FeedMaxAge: time.Second},
		"too many classes":          {Classes: make([]Class, MaxClasses+1), FeedMaxAge: time.Second},
		"no feed age":               {Classes: []Class{{Name: "any"}}},
		"a route without a name":    minimal(Config{Routes: []Route{{}}}),
		"a route twice":             minimal(Config{Routes: []Route{{Name: "a"}, {Name: "a"}}}),
		"a star inside a path":      minimal(Config{Routes: []Route{{Name: "a", Match: []RouteMatch{{Paths: []string{"/a*"}}}}}}),
		"a path with a dot segment": minimal(Config{Routes: []Route{{Name: "a", Match: []RouteMatch{{Paths: []string{"/a/../b"}}}}}}),
		"a wildcard host":           minimal(Config{Routes: []Route{{Name: "a", Match: []RouteMatch{{Hosts: []string{"*.example"}}}}}}),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewPolicy(c); err == nil {
				t.Error("taken")
			}
		})
	}
}

func TestRouteFirstMatch(t *testing.T) {
	p := mustPolicy(t, Config{Routes: []Route{
		{Name: "transfer", Match: []RouteMatch{{Hosts: []string{"Pay.Example:443"}, Paths: []string{"/transfer/*"}, Methods: []string{"POST"}}}},
		{Name: "pay", Match: []RouteMatch{{Hosts: []string{"pay.example"}}}},
		{Name: "health", Match: []RouteMatch{{Paths: []string{"/healthz"}}, {Methods: []string{"OPTIONS"}}}},
		{Name: "named"},
		{Name: "delete", Match: []RouteMatch{{Methods: []string{"DELETE"}}}},
	}})
	for _, tc := range []struct{ method, host, path, want string }{
		{"POST", "pay.example", "/transfer/1", "transfer"},
		{"POST", "PAY.example:8443", "/transfer/1", "transfer"},
		{"POST", "pay.example.", "/%74ransfer/1", "transfer"},
		{"POST", "pay.example", "/transfer/1?x=/healthz", "transfer"},
		{"GET", "pay.example", "/transfer/1", "pay"},
		{"post", "pay.example", "/transfer/1", "pay"},
		{"POST", "pay.example", "/transfer", "pay"},
		{"POST", "api.example", "/transfer/1", ""},
		{"GET", "api.example", "/healthz", "health"},
		{"GET", "api.example", "/healthz/", ""},
		{"OPTIONS", "api.example", "/x", "health"},
	} {
		req := &Request{Method: tc.method, Host: tc.host, Path: tc.path}
		i, _ := p.findRoute(req)
		got := ""
		if i != noRoute {
			got = p.routes[i].Name
		}
		if got != tc.want {
			t.Errorf("%s %s%s takes route %q, want %q", tc.method, tc.host, tc.path, got, tc.want)
		}
	}
}

func TestCombineStrictestWins(t *testing.T) {
	p := mustPolicy(t, Config{
		Classes: []Class{{Name: "browser", Demand: Demand{
			MaxAge: 15 * time.Minute, MaxLifetime: time.Hour, AbsoluteTimeout: 12 * time.Hour,
			ACR: []string{"aal1", "aal2"}, Scopes: []string{"api"}, Binding: proof.DPoP | proof.MTLS,
		}}},
		Routes: []Route{
			{Name: "strict", Match: []RouteMatch{{Paths: []string{"/s"}}}, Demand: Demand{
				MaxAge: 5 * time.Minute, MaxLifetime: 2 * time.Hour, MaxAuthAge: time.Minute,
				ACR: []string{"aal2"}, Scopes: []string{"pay"}, Binding: proof.MTLS, OnFeedStale: StaleDeny,
			}},
			{Name: "loose", Match: []RouteMatch{{Methods: []string{"GET"}}}, Demand: Demand{OnFeedStale: StaleAllow}},
		},
	})
	opt := cmp.AllowUnexported(demand{})
	class := demand{
		bindings: []proof.Methods{proof.DPoP | proof.MTLS}, maxAge: 15 * time.Minute, maxLifetime: time.Hour,
		absoluteTimeout: 12 * time.Hour, acr: [][]string{{"aal1", "aal2"}}, scopes: []string{"api"},
		onFeedStale: StaleError, mode: ModeEnforce,
	}
	strict := demand{
		bindings: []proof.Methods{proof.DPoP | proof.MTLS, proof.MTLS}, maxAge: 5 * time.Minute, maxLifetime: time.Hour,
		absoluteTimeout: 12 * time.Hour, maxAuthAge: time.Minute, acr: [][]string{{"aal1", "aal2"}, {"aal2"}},
		scopes: []string{"api", "pay"}, onFeedStale: StaleDeny, mode: ModeEnforce,
	}
	want := []demand{class, strict, class} // no route, strict, loose (loosens nothing)
	if diff := cmp.Diff(want, p.demands[0], opt); diff != "" {
		t.Errorf("demands (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&strict, p.union(0, "PUT", "api.example"), opt); diff != "" {
		t.Errorf("every path route's demands (-want +got):\n%s", diff)
	}
}

// TestUnionEscapesNothing: an ambiguous path takes no route's demands away,
// neither by a route that only watches nor by one that looks at no path.
func TestUnionEscapesNothing(t *testing.T) {
	p := mustPolicy(t, Config{Strictest: true, Routes: []Route{
		{Name: "pay", Match: []RouteMatch{{Paths: []string{"/transfer/*"}}}, Demand: Demand{MaxAuthAge: time.Minute}},
		{Name: "beta", Match: []RouteMatch{{Paths: []string{"/beta/*"}}}, Mode: ModeMonitor},
		{Name: "host", Match: []RouteMatch{{Hosts: []string{"vault.example"}}}, Demand: Demand{Binding: proof.MTLS}},
	}})
	for host, bindings := range map[string][]proof.Methods{"vault.example": {proof.MTLS}, "api.example": nil} {
		for _, class := range []int{noClass, 0} {
			d := p.union(class, "GET", host)
			if d.mode != ModeEnforce || d.maxAuthAge != time.Minute || !slices.Equal(d.bindings, bindings) {
				t.Errorf("%s, class %d: %+v", host, class, d)
			}
		}
	}
	watched := mustPolicy(t, Config{Mode: ModeMonitor, Strictest: true, Routes: []Route{{Name: "a", Match: []RouteMatch{{Paths: []string{"/a"}}}}}})
	if d := watched.union(0, "GET", "api.example"); d.mode != ModeMonitor {
		t.Errorf("all watched: mode %d", d.mode)
	}
}

// TestCombineNeverLoosens: whatever a route says, what the class asks holds.
func TestCombineNeverLoosens(t *testing.T) {
	age := rapid.Map(rapid.IntRange(0, 5), func(n int) time.Duration { return time.Duration(n) * time.Minute })
	draw := func(t *rapid.T) Demand {
		return Demand{
			MaxAge: age.Draw(t, "max_age"), MaxLifetime: age.Draw(t, "max_lifetime"),
			AbsoluteTimeout: age.Draw(t, "absolute_timeout"), MaxAuthAge: age.Draw(t, "max_auth_age"),
			Binding: proof.Methods(rapid.IntRange(0, 7).Draw(t, "binding")), OnFeedStale: OnFeedStale(rapid.IntRange(0, 3).Draw(t, "stale")),
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		class, route := draw(t), draw(t)
		p, err := NewPolicy(minimal(Config{
			Classes: []Class{{Name: "c", Demand: class}}, Routes: []Route{{Name: "r", Demand: route}},
		}))
		if err != nil {
			t.Fatal(err)
		}
		both := p.demands[0][1]
		for _, d := range []Demand{class, route} {
			for name, pair := range map[string][2]time.Duration{
				"max_age": {d.MaxAge, both.maxAge}, "max_lifetime": {d.MaxLifetime, both.maxLifetime},
				"absolute_timeout": {d.AbsoluteTimeout, both.absoluteTimeout}, "max_auth_age": {d.MaxAuthAge, both.maxAuthAge},
			} {
				if pair[0] > 0 && (pair[1] == 0 || pair[1] > pair[0]) {
					t.Fatalf("%s of %v became %v", name, pair[0], pair[1])
				}
			}
			if d.OnFeedStale > both.onFeedStale {
				t.Fatalf("on_feed_stale %d became %d", d.OnFeedStale, both.onFeedStale)
			}
			for proven := proof.Methods(0); proven < 8; proven++ {
				if d.Binding != 0 && proven&d.Binding == 0 && allHold(both.bindings, proven) {
					t.Fatalf("binding %03b is met by %03b", d.Binding, proven)
				}
			}
		}
	})
}

func allHold(bindings []proof.Methods, proven proof.Methods) bool {
	for _, any := range bindings {
		if proven&any == 0 {
			return false
		}
	}
	return true
}

func TestMode(t *testing.T) {
	for _, tc := range []struct{ global, class, route, want Mode }{
		{ModeInherit, ModeInherit, ModeInherit, ModeEnforce},
		{ModeMonitor, ModeInherit, ModeInherit, ModeMonitor},
		{ModeMonitor, ModeInherit, ModeEnforce, ModeEnforce},
		{ModeMonitor, ModeEnforce, ModeInherit, ModeEnforce},
		{ModeEnforce, ModeMonitor, ModeInherit, ModeMonitor},
		{ModeEnforce, ModeInherit, ModeMonitor, ModeMonitor},
		{ModeEnforce, ModeMonitor, ModeEnforce, ModeEnforce},
		{ModeEnforce, ModeEnforce, ModeMonitor, ModeEnforce},
		{ModeEnforce, ModeMonitor, ModeMonitor, ModeMonitor},
	} {
		p := mustPolicy(t, Config{Mode: tc.global, Classes: []Class{{Name: "c", Mode: tc.class}}, Routes: []Route{{Name: "r", Mode: tc.route}}})
		if got := p.demands[0][1].mode; got != tc.want {
			t.Errorf("global %d, class %d, route %d: mode %d, want %d", tc.global, tc.class, tc.route, got, tc.want)
		}
	}
}

func TestClockNeverStepsBack(t *testing.T) {
	var c Clock
	start := time.Now()
	if got := c.Read(start); !got.Equal(start) {
		t.Fatalf("first reading became %v", got)
	}
	back := start.Add(-time.Hour)
	if got := c.Read(back); got.UnixNano() != start.UnixNano() {
		t.Errorf("an hour back reads %v, want %v", got, start)
	}
	if behind := c.Behind(back); behind != time.Hour {
		t.Errorf("behind %v", behind)
	}
	c.Raise(start.Add(time.Minute))
	if got := c.Read(start); got.Before(start.Add(time.Minute)) {
		t.Errorf("after Raise: %v", got)
	}
	if later := start.Add(2 * time.Minute); !c.Read(later).Equal(later) {
		t.Error("time no longer goes forward")
	}
}

func TestHeaderValue(t *testing.T) {
	for claim, want := range map[string]string{
		"alice": "alice", "auth0|a.b-c_d@e": "auth0|a.b-c_d@e", "a b": "a%20b", "a,b": "a%2Cb", "100%": "100%25",
		"a\r\nx-admin: 1": "a%0D%0Ax-admin:%201", "a\x00": "a%00", "é": "%C3%A9", "": "",
	} {
		if got := headerValue(claim); got != want {
			t.Errorf("headerValue(%q) = %q, want %q", claim, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		claims := rapid.SliceOfNDistinct(rapid.String(), 2, 2, rapid.ID[string]).Draw(t, "claims")
		a, b := headerValue(claims[0]), headerValue(claims[1])
		if a == b {
			t.Fatalf("%q and %q become one: %q", claims[0], claims[1], a)
		}
		if strings.ContainsAny(a, "\r\n\x00, ") {
			t.Fatalf("%q became %q", claims[0], a)
		}
	})
}
