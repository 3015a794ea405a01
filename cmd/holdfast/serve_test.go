package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

type ended struct {
	code   int
	output string
}

// childThatFails runs a verb to its end.
func childThatFails(t *testing.T, args ...string) ended {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), beMain+"=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return ended{cmd.ProcessState.ExitCode(), string(out)}
}

func TestServeRefusesInvalidConfig(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	config := writeConfig(t, issuer, strings.Replace(basicConfig, "max_lifetime: 1h", "max_lifetme: 1h, mode: loud", 1))
	got := childThatFails(t, "serve", "-c", config)
	if got.code != exitInvalid || !strings.Contains(got.output, "max_lifetime") || !strings.Contains(got.output, "monitor") ||
		!strings.Contains(got.output, config+":4:") {
		t.Errorf("exit %d, said:\n%s", got.code, got.output)
	}
}

func TestServeUsage(t *testing.T) {
	for _, args := range [][]string{{"serve"}, {"serve", "--no-such-flag"}, {"revoke"}, {"revoke", "session"}, {"no-such-verb"}, {"feed", "no-such-verb"}} {
		if got := childThatFails(t, args...); got.code != exitUsage || got.output == "" {
			t.Errorf("%v: exit %d, said:\n%s", args, got.code, got.output)
		}
	}
}

// TestRevokeAndLift walks one revocation through API and checks.
func TestRevokeAndLift(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	c := startReady(t, writeConfig(t, issuer, basicConfig))
	tok := issuer.Token(time.Now(), extauthztest.Claims{"sid": "s1"})
	c.wantReason(tok, "ok")
	answer := c.revoke("session", "s1")
	c.wantReason(tok, "session_revoked")
	id, _ := answer["id"].(string)

	status, body := c.http("GET", "/v1/revocations/"+id, "")
	var shown struct {
		Enforced struct {
			Count       int
			First, Last time.Time
		}
	}
	if err := json.Unmarshal([]byte(body), &shown); status != 200 || err != nil || shown.Enforced.Count != 1 || shown.Enforced.First.IsZero() {
		t.Errorf("evidence: %d %v %s", status, err, body)
	}
	if status, body := c.http("DELETE", "/v1/revocations/"+id, ""); status != http.StatusNoContent {
		t.Fatalf("lift: %d %s", status, body)
	}
	c.wantReason(tok, "ok")
	if status, body := c.http("GET", "/v1/revocations/"+id, ""); status != 200 || !strings.Contains(body, `"lifted"`) {
		t.Errorf("after lifting: %d %s", status, body)
	}
}

// TestRevokeVerb revokes by the command line, and waits.
func TestRevokeVerb(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	c := startReady(t, writeConfig(t, issuer, basicConfig))
	tok := issuer.Token(time.Now())
	got := childThatFails(t, "revoke", "subject", extauthztest.Subject, "--issuer", idp, "--wait", "5s", "--server", "http://"+c.admin)
	if got.code != 0 || !strings.Contains(got.output, "ms") {
		t.Fatalf("exit %d, said:\n%s", got.code, got.output)
	}
	c.wantReason(tok, "subject_revoked")
	got = childThatFails(t, "revoke", "subject", "*", "--issuer", idp, "--server", "http://"+c.admin)
	if got.code == 0 {
		t.Errorf("a wildcard was taken:\n%s", got.output)
	}
}

func TestMonitorMode(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	c := startReady(t, writeConfig(t, issuer, "mode: monitor\n"+basicConfig))
	a := c.ask(extauthztest.Forge(issuer.Token(time.Now())))
	if a.Verdict != extauthztest.VerdictOK || a.Decision() != "deny" || a.Reason() != "signature_invalid" || a.Metadata["enforced"] != false {
		t.Errorf("answer %v", a)
	}
	status, body := c.http("GET", "/metrics", "")
	if want := `holdfast_checks_total{class="",decision="deny",mode="monitor",reason="signature_invalid",route=""} 1`; status != 200 || !strings.Contains(body, want) {
		t.Errorf("metrics lack %s:\n%s", want, body)
	}
}

// TestUnixSocket: the check listener on a socket that only its owner and group can reach.
func TestUnixSocket(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	config := writeConfig(t, issuer, strings.Replace(basicConfig, `check: {address: "127.0.0.1:0"}`, `check: {address: "unix://%s/check.sock"}`, 1))
	c := startReady(t, config)
	c.wantReason(issuer.Token(time.Now()), "ok")
	info, err := os.Stat(filepath.Join(filepath.Dir(config), "check.sock"))
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("socket: %v %v", info, err)
	}
}

func TestDrain(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	c := startReady(t, writeConfig(t, issuer, basicConfig))
	c.wantReason(issuer.Token(time.Now()), "ok")
	if code := c.terminate(); code != 0 {
		t.Errorf("exit %d after SIGTERM:\n%s", code, c.log)
	}
	if !strings.Contains(c.log.String(), "draining") {
		t.Errorf("log:\n%s", c.log)
	}
}

// TestHangup: SIGHUP is for log rotation and ends nothing.
func TestHangup(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	config := writeConfig(t, issuer, strings.Replace(basicConfig, "destination: stderr", "destination: {file: \"%s/decisions.log\"}", 1))
	c := startReady(t, config)
	path := filepath.Join(filepath.Dir(config), "decisions.log")
	c.wantReason("x.y.z", "token_malformed")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	until(t, "the new decision log", func() bool { _, err := os.Stat(path); return err == nil })
	c.wantReason("x.y.z", "token_malformed")
	until(t, "a record in the new file", func() bool { text, _ := os.ReadFile(path); return strings.Contains(string(text), "token_malformed") })
}

func TestHealthService(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	c := startReady(t, writeConfig(t, issuer, basicConfig))
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	for _, service := range []string{"", "envoy.service.auth.v3.Authorization"} {
		until(t, "health of service "+service, func() bool {
			res, err := grpc_health_v1.NewHealthClient(c.envoy.Conn()).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
			if err != nil {
				t.Fatal(err)
			}
			return res.Status == grpc_health_v1.HealthCheckResponse_SERVING
		})
	}
}

// TestNothingSecretInTheLogs: neither token nor claim nor query is written down.
func TestNothingSecretInTheLogs(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	c := startReady(t, writeConfig(t, issuer, strings.Replace(basicConfig, "destination: stderr", "destination: stderr, sample_allow: 1", 1)))
	tok := issuer.Token(time.Now(), extauthztest.Claims{"sid": "secret-sid", "sub": "secret-sub"})
	c.askFor(extauthztest.Request{Path: "/x?q=secret-query", Headers: [][2]string{{"authorization", "Bearer " + tok}, {"cookie", "c=secret-cookie"}}})
	forged := extauthztest.Forge(tok)
	c.ask(forged)
	until(t, "both records", func() bool { return strings.Count(c.log.String(), `"decision_id"`) >= 2 })
	log := c.log.String()
	for _, secret := range []string{tok, forged, tok[:40], "secret-sid", "secret-sub", "secret-query", "secret-cookie"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

// TestDPoP walks a token that is bound to a key through the real process: the
// thief without the key, the proof used twice, and the nonces.
func TestDPoP(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	for _, nonces := range []bool{false, true} {
		text := basicConfig
		if nonces {
			text += "dpop: {nonce: required}\n"
		}
		c := startReady(t, writeConfig(t, issuer, text))
		alice, mallory := extauthztest.NewProver(t, "ES256"), extauthztest.NewProver(t, "ES256")
		tok := issuer.Token(time.Now(), extauthztest.DPoPBound(alice.JKT))
		ask := func(proof string) *extauthztest.Answer {
			return c.askFor(extauthztest.Request{Path: "/x", Headers: [][2]string{{"authorization", "DPoP " + tok}, {"dpop", proof}}})
		}
		more := extauthztest.Claims{}
		prove := func(p *extauthztest.Prover) string {
			return p.Proof("GET", "https://api.example/x", tok, time.Now(), more)
		}
		if nonces {
			a := ask(prove(alice))
			if a.Reason() != "dpop_nonce_required" || a.Header("dpop-nonce") == "" {
				t.Fatalf("without a nonce: %v", a)
			}
			more["nonce"] = a.Header("dpop-nonce")
		}
		proof := prove(alice)
		for _, step := range []struct{ proof, want string }{
			{proof, "ok"}, {proof, "dpop_replayed"}, {prove(alice), "ok"}, {prove(mallory), "binding_mismatch"},
		} {
			if a := ask(step.proof); a.Reason() != step.want {
				t.Errorf("nonces %v: %v, want %s", nonces, a, step.want)
			}
		}
		if a := c.ask(tok); a.Reason() != "binding_missing" {
			t.Errorf("as Bearer: %v", a)
		}
		_, metrics := c.http("GET", "/metrics", "")
		for _, line := range []string{`dpop_proofs_total{result="ok"} 2`, `dpop_proofs_total{result="dpop_replayed"} 1`, `dpop_proofs_total{result="binding_mismatch"} 1`} {
			if !strings.Contains(metrics, line) {
				t.Errorf("metrics lack %s", line)
			}
		}
		c.kill()
	}
}

// TestNoTokenOutlivesItsRevocation is promise 4 for a class that bounds
// nothing: what lives longer than feed.retention is not accepted at all, and a
// revocation may not be asked to end sooner.
func TestNoTokenOutlivesItsRevocation(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	c := startReady(t, writeConfig(t, issuer, strings.Replace(basicConfig, ", max_lifetime: 1h", "", 1)))
	now := time.Now()
	c.wantReason(issuer.Token(now, extauthztest.Claims{"exp": now.Add(719 * time.Hour).Unix()}), "ok")
	c.wantReason(issuer.Token(now, extauthztest.Claims{"exp": now.Add(2160 * time.Hour).Unix()}), "lifetime_too_long")
	if status, body := c.http("POST", "/v1/revocations", `{"kind":"session","value":"s","issuer":"https://idp.example","ttl":"1m"}`); status != 422 {
		t.Errorf("a ttl that its tokens outlive: %d %s", status, body)
	}
}
