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
		{"a transfer needs a fresh login with a second factor (RFC 9470)", (*story).stepUp},
		{"alice's phone is lost: its session is revoked", (*story).revoke},
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
	type result struct {
		out []byte
		err error
		at  time.Duration
	}
	done := make(chan result, 1)
	args := []string{"revoke", "session", s.phone.SID, "--issuer", s.issuer, "--wait", "5s", "--server", s.holdfast.Admin}
	start := time.Now()
	go func() {
		out, err := exec.CommandContext(ctx, s.binary, args...).CombinedOutput()
		done <- result{out, err, time.Since(start)}
	}()
	served := 0
	var denied time.Duration
	err := until(ctx, 10*time.Second, func(ctx context.Context) error {
		a, err := s.send(ctx, call)
		switch {
		case err != nil:
			return stop{err}
		case a.status == http.StatusOK:
			served++
			return errors.New("it is still served")
		case a.status != http.StatusUnauthorized || a.log.Reason != "session_revoked":
			return stop{fmt.Errorf("got %d %q", a.status, a.log.Reason)}
		}
		denied = time.Since(start)
		return nil
	})
	cli := <-done
	if err = errors.Join(err, cli.err); err != nil {
		return fmt.Errorf("holdfast %s: %w: %s", strings.Join(args, " "), err, cli.out)
	}
	s.say("   $ holdfast revoke session %s --issuer %s --wait 5s", s.phone.SID, s.issuer)
	for line := range strings.Lines(string(cli.out)) {
		s.say("     %s", strings.TrimRight(line, "\n"))
	}
	s.say("   first refusal %.0f ms after the command was started (it ended after %.0f ms; %d calls were served before)", ms(denied), ms(cli.at), served)
	if _, err := s.expect(ctx, call, http.StatusUnauthorized, "session_revoked"); err != nil {
		return err
	}
	call.token = s.laptop.Access
	s.say("   alice's other session goes on")
	_, err = s.expect(ctx, call, http.StatusOK, "ok")
	return err
}

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
