package demo

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/holdfast-authz/holdfast/examples/issuer"
)

const trustDomain = "demo.example"

// workload is the SPIFFE ID of a workload of the demo.
func workload(name string) string { return "spiffe://" + trustDomain + "/" + name }

// writeBundle makes what a SPIRE server would give out: the key of its tokens,
// as a bundle.
func (w *world) writeBundle() (err error) {
	if w.spire, err = issuer.NewKey("ES256"); err != nil {
		return err
	}
	w.spire.Use = "jwt-svid"
	return os.WriteFile(w.file("bundle.json"), issuer.KeySet(w.spire), 0o600)
}

// workload: certificates instead of tokens, and a token that is worth nothing
// without its certificate.
func (s *story) workload(ctx context.Context) error {
	now := time.Now()
	token, err := s.spire.Token("JWT", &issuer.Claims{
		Subject: workload("batch"), Issued: now, Expires: now.Add(5 * time.Minute),
		More: map[string]any{"aud": []string{audience}}, // always a list in those of SPIRE
	})
	if err != nil {
		return err
	}
	bare := request{by: s.batch, path: "/orders"}
	a, err := s.expect(ctx, bare, http.StatusOK, "ok")
	if err != nil {
		return err
	}
	if err := s.saw(a, workload("batch"), workload("batch")); err != nil {
		return err
	}
	s.say("   its token (a JWT-SVID) works with its certificate only")
	for _, try := range []struct {
		by     *person
		status int
		reason string
	}{
		{s.batch, http.StatusOK, "ok"},
		{s.stranger, http.StatusUnauthorized, "binding_missing"},
		{s.reports, http.StatusUnauthorized, "binding_mismatch"},
	} {
		if _, err := s.expect(ctx, request{by: try.by, token: token, path: "/orders"}, try.status, try.reason); err != nil {
			return err
		}
	}
	args := []string{"revoke", "subject", workload("batch"), "--issuer", trustDomain}
	s.say("   $ holdfast %s", strings.Join(args, " "))
	if out, err := exec.CommandContext(ctx, s.binary, append(args, "--server", s.holdfast.Admin)...).CombinedOutput(); err != nil {
		return fmt.Errorf("holdfast %s: %w: %s", strings.Join(args, " "), err, out)
	}
	for _, r := range []request{bare, {by: s.batch, token: token, path: "/orders"}} {
		if _, err := s.expect(ctx, r, http.StatusUnauthorized, "subject_revoked"); err != nil {
			return err
		}
	}
	_, err = s.expect(ctx, request{by: s.reports, path: "/orders"}, http.StatusOK, "ok")
	return err
}
