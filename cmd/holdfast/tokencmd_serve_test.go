package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-authz/holdfast/cmd/internal/config"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// holdfastWith is the program with something on standard input.
func holdfastWith(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	code = run(context.Background(), root)
	return code, out.String(), errs.String()
}

// mustPrint runs a command that has to work, and gives its one line.
func mustPrint(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := holdfastWith(t, "", args...)
	line, rest, _ := strings.Cut(out, "\n")
	if code != 0 || line == "" || rest != "" {
		t.Fatalf("holdfast %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return line
}

// TestMintedTokens: what the help of token mint and dpop proof promises, with
// the configuration of config init and a real server.
func TestMintedTokens(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	mint := func(args ...string) string {
		t.Helper()
		return mustPrint(t, append([]string{"token", "mint", "--key", at("issuer.pem")}, args...)...)
	}
	plain := mint("--jwks", at("jwks.json"))
	text := string(config.Example)
	for from, to := range map[string]string{
		"jwks_uri: https://idp.example/jwks": "jwks_file: " + at("jwks.json"), // as the help's sed does
		"127.0.0.1:9191":                     "127.0.0.1:0", "127.0.0.1:9292": "127.0.0.1:0", "./data": at("data"),
	} {
		if !strings.Contains(text, from) {
			t.Fatalf("config init no longer has %q: change this test, and the help of token mint", from)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	if err := os.WriteFile(at("holdfast.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := startReady(t, at("holdfast.yaml"))

	c.wantReason(plain, "ok")
	c.wantReason(mint("--iat", "-1h", "--lifetime", "5m"), "token_expired")
	c.wantReason(mint("--audience", "https://other.example"), "audience_mismatch")
	c.wantReason(mint("--audience", "https://other.example", "--audience", "https://api.example"), "ok")
	c.wantReason(mint("--type", "JWT"), "type_refused")
	c.wantReason(mint("--auth-time", "-13h"), "session_expired")
	c.wantReason(mint("--claim", "exp=soon"), "claims_invalid")
	c.wantReason(mustPrint(t, "token", "mint"), "key_unknown")

	// Bound to a certificate.
	own, others := extauthztest.NewCertificate(t, "own"), extauthztest.NewCertificate(t, "others")
	if err := os.WriteFile(at("own.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	batch := [][2]string{{"authorization", "Bearer " + mint("--client", "batch", "--cert", at("own.crt"))}}
	for _, test := range []struct {
		r    extauthztest.Request
		want string
	}{
		{extauthztest.Request{Headers: batch, Cert: own.Cert}, "ok"},
		{extauthztest.Request{Headers: batch, Cert: others.Cert}, "binding_mismatch"},
		{extauthztest.Request{Headers: batch}, "binding_missing"},
	} {
		if a := c.askFor(test.r); a.Reason() != test.want {
			t.Errorf("bound to a certificate: %v, want %s", a, test.want)
		}
	}

	// Bound to a key. The proof's own command reads the token from a file.
	bound := mint("--dpop-key", at("client.pem"))
	if err := os.WriteFile(at("token"), []byte(bound+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	prove := func(key string, args ...string) string {
		t.Helper()
		return mustPrint(t, append([]string{"dpop", "proof", "--key", at(key), "--token", "@" + at("token"), "--url", "https://api.example/orders?page=2"}, args...)...)
	}
	first := prove("client.pem")
	for _, test := range []struct{ scheme, proof, want string }{
		{"DPoP", first, "ok"},
		{"DPoP", first, "dpop_replayed"},
		{"DPoP", prove("client.pem", "--jti", "mine"), "ok"},
		{"DPoP", prove("thief.pem"), "binding_mismatch"},
		{"DPoP", prove("client.pem", "--method", "POST"), "dpop_mismatch"},
		{"DPoP", prove("client.pem", "--iat", "-10m"), "dpop_expired"},
		{"DPoP", "", "dpop_missing"},
		{"Bearer", prove("client.pem"), "binding_missing"},
	} {
		r := extauthztest.Request{Path: "/orders?page=2", Headers: [][2]string{{"authorization", test.scheme + " " + bound}}}
		if test.proof != "" {
			r.Headers = append(r.Headers, [2]string{"dpop", test.proof})
		}
		if a := c.askFor(r); a.Reason() != test.want {
			t.Errorf("bound to a key, scheme %s: %v, want %s", test.scheme, a, test.want)
		}
	}

	// What inspect says is what revoke takes.
	code, out, _ := holdfastWith(t, "Bearer "+plain, "token", "inspect", "-o", "json")
	var seen struct {
		TokenHash string `json:"token_hash"`
	}
	if err := json.Unmarshal([]byte(out), &seen); err != nil || code != 0 {
		t.Fatalf("exit %d, %v: %s", code, err, out)
	}
	if code, out, errs := holdfastWith(t, "", "revoke", "token_hash", seen.TokenHash, "--server", "http://"+c.admin, "--wait", "10s"); code != 0 {
		t.Fatalf("revoke: exit %d %s%s", code, out, errs)
	}
	c.wantReason(plain, "token_revoked")
	c.wantReason(mint(), "ok")
}

// TestMintedSVID: a JWT-SVID is taken by the issuer with its trust domain, whose
// keys are a bundle.
func TestMintedSVID(t *testing.T) {
	dir := t.TempDir()
	key, bundle := filepath.Join(dir, "spire.pem"), filepath.Join(dir, "bundle.json")
	mint := func(args ...string) string {
		t.Helper()
		return mustPrint(t, append([]string{"token", "mint", "--key", key, "--jwks", bundle, "--subject", "spiffe://prod.example/reports"}, args...)...)
	}
	token := mint()
	again := mint("--audience", "https://other.example") // the bundle is there already, and as it was
	c := startReady(t, configFile(t, "holdfast.yaml", strings.NewReplacer("%s", dir,
		`issuer: "https://idp.example"`, `trust_domain: prod.example`, "jwks.json", "bundle.json").Replace(basicConfig)))
	c.wantReason(token, "ok")
	c.wantReason(again, "audience_mismatch")
	c.wantReason(mustPrint(t, "token", "mint", "--key", key, "--subject", "spiffe://dev.example/reports"), "issuer_unknown")
	c.wantReason(mint("--type", "at+jwt"), "type_refused")
}
