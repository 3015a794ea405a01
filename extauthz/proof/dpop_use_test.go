package proof_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/proof"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// TestDPoPOnce: DP02 and RV22. Of a hundred checks of one proof, on any
// spelling of its signature, one finds it unused.
func TestDPoPOnce(t *testing.T) {
	d := checker(t, proof.DPoPConfig{})
	window, err := cache.NewReplay(cache.ReplayConfig{})
	if err != nil {
		t.Fatal(err)
	}
	client := extauthztest.NewProver(t, "ES256")
	good := client.Proof("GET", api, accessToken, now)
	texts := []string{good, extauthztest.Twin(good), client.Proof("GET", api, accessToken, now.Add(time.Second), claims{"jti": "proof-1"})}
	var firsts atomic.Int32
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			var out proof.Proof
			if r := ask(d, texts[i%len(texts)], client.JKT, &out); r != reason.OK {
				t.Error(r)
				return
			}
			if first, ok := window.Seen(out.ReplayKey, out.Expires, now); !ok {
				t.Error("no room")
			} else if first {
				firsts.Add(1)
			}
		})
	}
	all.Wait()
	if n := firsts.Load(); n != 1 {
		t.Errorf("%d found it unused", n)
	}
}

// TestDPoPReplayKey: one client's jti is not another's.
func TestDPoPReplayKey(t *testing.T) {
	d := checker(t, proof.DPoPConfig{})
	a, b := extauthztest.NewProver(t, "ES256"), extauthztest.NewProver(t, "ES256")
	seen := map[[16]byte]string{}
	for name, tc := range map[string]struct {
		client *extauthztest.Prover
		jti    string
	}{"a 1": {a, "1"}, "a 2": {a, "2"}, "b 1": {b, "1"}, "a 11": {a, "11"}} {
		var out proof.Proof
		if r := ask(d, tc.client.Proof("GET", api, accessToken, now, claims{"jti": tc.jti}), tc.client.JKT, &out); r != reason.OK {
			t.Fatal(r)
		}
		if other, twice := seen[out.ReplayKey]; twice {
			t.Errorf("%s and %s have one key", name, other)
		}
		seen[out.ReplayKey] = name
		if want := now.Add(66 * time.Second); !out.Expires.Equal(want) {
			t.Errorf("expires %v, want %v", out.Expires, want)
		}
	}
}

// TestDPoPBounded: signature checks have a bound, and text alone never reaches it.
func TestDPoPBounded(t *testing.T) {
	running, full := 0, false
	d := checker(t, proof.DPoPConfig{
		Acquire: func() bool { running++; return !full },
		Release: func() { running-- },
	})
	client := extauthztest.NewProver(t, "ES256")
	for _, raw := range []string{"", "x.y.z", client.Proof("POST", api, accessToken, now), client.Proof("GET", api, "", now), client.Proof("GET", api, accessToken, now.Add(-time.Hour)), client.Proof("GET", api, accessToken, now, header{"typ": "JWT"})} {
		if ask(d, raw, client.JKT, &proof.Proof{}); running != 0 {
			t.Errorf("%.40s: took a place", raw)
			running = 0
		}
	}
	good := client.Proof("GET", api, accessToken, now)
	for _, raw := range []string{good, extauthztest.Forge(good)} {
		if ask(d, raw, client.JKT, &proof.Proof{}); running != 0 {
			t.Errorf("%d places are not given back", running)
		}
	}
	full = true
	if r := ask(d, good, client.JKT, &proof.Proof{}); r != reason.Overloaded {
		t.Errorf("%v", r)
	}
}

func TestDPoPConfig(t *testing.T) {
	for name, c := range map[string]proof.DPoPConfig{
		"a negative age":  {MaxAge: -1},
		"a negative skew": {FutureSkew: -1},
		"a path":          {Origins: []string{"https://api.example", "https://api.example/v1"}},
		"acquire alone":   {Acquire: func() bool { return true }},
		"release alone":   {Release: func() {}},
	} {
		if _, err := proof.NewDPoP(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	// The zero configuration: a minute back, nothing ahead.
	d, err := proof.NewDPoP(proof.DPoPConfig{})
	if err != nil {
		t.Fatal(err)
	}
	client := extauthztest.NewProver(t, "ES256")
	for age, want := range map[time.Duration]reason.Reason{
		0: reason.OK, time.Minute: reason.OK, time.Minute + time.Second: reason.DPoPExpired, -time.Second: reason.DPoPExpired,
	} {
		if r := ask(d, client.Proof("GET", api, accessToken, now.Add(-age)), client.JKT, &proof.Proof{}); r != want {
			t.Errorf("%v old: %v", age, r)
		}
	}
}

// TestDPoPOrigins: DP05. What the proxy sees is not what the client named.
func TestDPoPOrigins(t *testing.T) {
	d := checker(t, proof.DPoPConfig{Origins: []string{"https://api.example", "https://pay.example"}})
	client := extauthztest.NewProver(t, "ES256")
	for _, tc := range []struct {
		url, scheme, host string
		want              reason.Reason
	}{
		{api, "http", "api.example", reason.OK},
		{api, "http", "10.0.0.7:8080", reason.OK},
		{"https://pay.example/v1/items", "http", "api.example", reason.DPoPMismatch},
		{"https://evil.example/v1/items", "https", "evil.example", reason.DPoPMismatch},
		{"http://api.example/v1/items", "http", "api.example", reason.DPoPMismatch},
	} {
		raw := client.Proof("GET", tc.url, accessToken, now)
		if r := d.Check(raw, "GET", tc.scheme, tc.host, "/v1/items", accessToken, client.JKT, now, nil, &proof.Proof{}); r != tc.want {
			t.Errorf("%s at %s://%s: %v", tc.url, tc.scheme, tc.host, r)
		}
	}
	// Without a token there is nothing that a proof could stand beside.
	for _, parts := range []claims{{}, {"ath": ""}, {"ath": ath("")}} {
		raw := client.Proof("GET", api, "", now, parts)
		if r := d.Check(raw, "GET", "https", "api.example", "/v1/items", "", client.JKT, now, nil, &proof.Proof{}); r != reason.DPoPMismatch {
			t.Errorf("no token, %v: %v", parts, r)
		}
	}
}
