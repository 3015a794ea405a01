package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"time"

	"github.com/holdfast-authz/holdfast/examples/issuer"
)

// story is what the steps hand on to each other.
type story struct {
	*world
	phone  *issuer.Token // alice's session that will be revoked
	laptop *issuer.Token // alice's other session, which goes on
}

type step struct {
	title string
	play  func(*story, context.Context) error
}

func steps() []step {
	return []step{
		{"alice logs in; her token is bound to her certificate; she calls the application", (*story).login},
		{"mallory has stolen the token", (*story).theft},
		{"a phone without a certificate: its token is bound to a key by DPoP", (*story).dpop},
		{"a workload without any token: its X.509-SVID is the credential", (*story).workload},
		{"a transfer needs a fresh login with a second factor (RFC 9470)", (*story).stepUp},
		{"alice's phone is lost: its session is revoked", (*story).revoke},
		{"the issuer says that sessions are over", (*story).events},
		{"a token gets too old for the statements", (*story).tooOld},
		{"Holdfast is killed with kill -9 and comes back", (*story).crash},
		{"somebody changes one byte of the revocation log", (*story).damage},
	}
}

// play runs every step and stops at the first that does not hold.
func (w *world) play(ctx context.Context) error {
	begin := time.Now()
	s := &story{world: w}
	all := steps()
	for i, step := range all {
		w.say("%d. %s", i+1, step.title)
		if err := step.play(s, ctx); err != nil {
			return fmt.Errorf("demo: step %d (%s): %w\n%s", i+1, step.title, err, w.logs())
		}
	}
	w.say("\nall %d steps did what they say, in %.1f s", len(all), time.Since(begin).Seconds())
	return nil
}

// expect sends a request, checks its status and the reason in Envoy's access
// log, and shows it.
func (s *story) expect(ctx context.Context, r request, status int, reason string) (*answer, error) {
	a, err := s.send(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r, err)
	}
	if a.status != status || a.log.Reason != reason {
		return nil, fmt.Errorf("%s: got %d %q (%s), want %d %q", r, a.status, a.log.Reason, a.log.Details, status, reason)
	}
	s.say("   %-44s -> %s", r, a)
	return a, nil
}

func (s *story) login(ctx context.Context) (err error) {
	form := url.Values{"user": {"alice"}, "x5t": {s.alice.x5t}, "login_age": {"1h"}, "lifetime": {"1h"}}
	if s.phone, err = s.world.login(ctx, "/token", form); err != nil {
		return err
	}
	if s.laptop, err = s.world.login(ctx, "/token", form); err != nil {
		return err
	}
	a, err := s.expect(ctx, request{by: s.alice, token: s.phone.Access, path: "/orders"}, http.StatusOK, "ok")
	if err != nil {
		return err
	}
	return s.saw(a, "alice", s.phone.SID)
}

// saw checks and shows who the upstream was told the request is from.
func (s *story) saw(a *answer, subject, sid string) error {
	got := strings.Join(a.echo.Headers["x-holdfast-subject"], "|")
	if got != subject || strings.Join(a.echo.Headers["x-holdfast-session"], "|") != sid {
		return fmt.Errorf("the upstream saw %v, want subject %q and session %q", a.echo.Headers, subject, sid)
	}
	s.say("   the upstream saw x-holdfast-subject: %s", got)
	return nil
}

func (s *story) theft(ctx context.Context) error {
	if _, err := s.expect(ctx, request{by: s.stranger, token: s.phone.Access, path: "/orders"}, http.StatusUnauthorized, "binding_missing"); err != nil {
		return err
	}
	if _, err := s.expect(ctx, request{by: s.mallory, token: s.phone.Access, path: "/orders"}, http.StatusUnauthorized, "binding_mismatch"); err != nil {
		return err
	}
	own, err := s.world.login(ctx, "/token", url.Values{"user": {"mallory"}})
	if err != nil {
		return err
	}
	s.say("   with an own token and a forged x-holdfast-subject: alice")
	a, err := s.expect(ctx, request{
		by: s.mallory, token: own.Access, path: "/orders",
		header: map[string]string{"x-holdfast-subject": "alice", "x-holdfast-session": s.phone.SID},
	}, http.StatusOK, "ok")
	if err != nil {
		return err
	}
	return s.saw(a, "mallory", own.SID)
}

func (s *story) dpop(ctx context.Context) error {
	key, err := issuer.NewKey("ES256")
	if err != nil {
		return err
	}
	thief, err := issuer.NewKey("ES256")
	if err != nil {
		return err
	}
	app, err := s.world.login(ctx, "/token", url.Values{"user": {"alice"}, "jkt": {key.ID}})
	if err != nil {
		return err
	}
	call := func(by *issuer.Key) (request, error) {
		proof, err := by.Prove(issuer.Proof{Method: http.MethodGet, URL: "https://" + s.envoy.Listener + "/orders", Token: app.Access})
		return request{by: s.stranger, path: "/orders", header: map[string]string{"authorization": "DPoP " + app.Access, "dpop": proof}}, err
	}
	own, err := call(key)
	if err != nil {
		return err
	}
	stolen, err := call(thief)
	if err != nil {
		return err
	}
	for _, try := range []struct {
		say    string
		r      request
		status int
		reason string
	}{
		{"", own, http.StatusOK, "ok"},
		{"mallory repeats the call, proof and all", own, http.StatusUnauthorized, "dpop_replayed"},
		{"with the stolen token and a proof by a key of his own", stolen, http.StatusUnauthorized, "binding_mismatch"},
		{"with the stolen token alone", request{by: s.stranger, token: app.Access, path: "/orders"}, http.StatusUnauthorized, "binding_missing"},
	} {
		if try.say != "" {
			s.say("   %s", try.say)
		}
		if _, err := s.expect(ctx, try.r, try.status, try.reason); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) stepUp(ctx context.Context) error {
	transfer := request{by: s.alice, token: s.phone.Access, method: http.MethodPost, path: "/transfer/42"}
	a, err := s.expect(ctx, transfer, http.StatusUnauthorized, "auth_too_old")
	if err != nil {
		return err
	}
	challenge := a.header.Get("WWW-Authenticate")
	const want = `Bearer error="insufficient_user_authentication", max_age=300, acr_values="aal2"`
	if challenge != want {
		return fmt.Errorf("the challenge is %q, want %q", challenge, want)
	}
	s.say("   WWW-Authenticate: %s", challenge)
	fresh, err := s.world.login(ctx, "/reauth", url.Values{"sid": {s.phone.SID}, "acr": {"aal2"}, "x5t": {s.alice.x5t}})
	if err != nil {
		return err
	}
	s.say("   alice authenticates again, with her second factor")
	transfer.token = fresh.Access
	_, err = s.expect(ctx, transfer, http.StatusOK, "ok")
	return err
}

// revoke runs the real command beside a client that calls the application all
// the time, and tells how long after the command's start the first call was
// refused.
func (s *story) revoke(ctx context.Context) error {
	call := request{by: s.alice, token: s.phone.Access, path: "/orders"}
	if _, err := s.expect(ctx, call, http.StatusOK, "ok"); err != nil {
		return err
	}
	args := []string{"revoke", "session", s.phone.SID, "--issuer", s.issuer, "--wait", "5s", "--server", s.holdfast.Admin}
	var out []byte
	var failed error
	done := make(chan struct{})
	calling, stop := context.WithTimeout(ctx, revokeWait)
	defer stop()
	start := time.Now()
	go func() {
		defer close(done)
		if out, failed = exec.CommandContext(ctx, s.binary, args...).CombinedOutput(); failed != nil {
			stop()
		}
	}()
	served, refused, err := s.untilRefused(calling, call, start)
	<-done
	ended := time.Since(start)
	if err = errors.Join(failed, err); err != nil {
		return fmt.Errorf("holdfast %s: %w: %s", strings.Join(args, " "), err, out)
	}
	s.say("   $ holdfast revoke session %s --issuer %s --wait 5s", s.phone.SID, s.issuer)
	for line := range strings.Lines(string(out)) {
		s.say("     %s", strings.TrimRight(line, "\n"))
	}
	s.say("   first refusal %.0f ms after the command was started; it ended after %.0f ms, and %d calls had been served", ms(refused), ms(ended), served)
	if _, err := s.expect(ctx, call, http.StatusUnauthorized, "session_revoked"); err != nil {
		return err
	}
	call.token = s.laptop.Access
	s.say("   alice's other session goes on")
	_, err = s.expect(ctx, call, http.StatusOK, "ok")
	return err
}

// untilRefused calls without a pause until the session is refused. It returns
// how many calls were served before and when, counted from start, the first
// was not.
func (s *story) untilRefused(ctx context.Context, call request, start time.Time) (served int, refused time.Duration, err error) {
	for {
		a, err := s.do(ctx, call)
		if err != nil {
			return served, 0, fmt.Errorf("%d calls were served: %w", served, err)
		}
		refused = time.Since(start)
		if a.status != http.StatusOK {
			break
		}
		served++
	}
	for range served { // their lines in the access log
		if line, err := s.access.next(ctx); err != nil || line.Reason != "ok" {
			return served, refused, fmt.Errorf("a call that was served: %+v (%w)", line, err)
		}
	}
	line, err := s.access.next(ctx)
	if err == nil && line.Reason != "session_revoked" {
		err = fmt.Errorf("got %d %q, want session_revoked", line.Status, line.Reason)
	}
	return served, refused, err
}

const revokeWait = 20 * time.Second // the command's own process included

func (s *story) tooOld(ctx context.Context) error {
	token, err := s.world.login(ctx, "/token", url.Values{"user": {"alice"}, "x5t": {s.alice.x5t}})
	if err != nil {
		return err
	}
	start := time.Now()
	call := request{by: s.alice, token: token.Access, path: "/statements/2026"}
	if _, err := s.expect(ctx, call, http.StatusOK, "ok"); err != nil {
		return err
	}
	if _, err := s.await(ctx, call, http.StatusUnauthorized, "token_too_old", "ok"); err != nil {
		return err
	}
	s.say("   the same token is refused %.1f s after it was issued; elsewhere it is still good", time.Since(start).Seconds())
	call.path = "/orders"
	_, err = s.expect(ctx, call, http.StatusOK, "ok")
	return err
}

// await repeats a request until it gets the wanted status and reason. On the
// way only the reasons named in between are tolerated.
func (s *story) await(ctx context.Context, r request, status int, reason string, between ...string) (a *answer, err error) {
	err = until(ctx, startWait, func(ctx context.Context) (err error) {
		if a, err = s.send(ctx, r); err != nil {
			return stop{err}
		}
		if a.status == status && a.log.Reason == reason {
			return nil
		}
		err = fmt.Errorf("got %d %q (%s), want %d %q", a.status, a.log.Reason, a.log.Details, status, reason)
		for _, fine := range between {
			if a.log.Reason == fine {
				return err
			}
		}
		return stop{err}
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r, err)
	}
	s.say("   %-44s -> %s", r, a)
	return a, nil
}
