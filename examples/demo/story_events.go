package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// edge is what the issuer calls Holdfast in its events, webClient the client
// whose back-channel logout URI Holdfast is.
const (
	edge      = "https://edge.example"
	webClient = "web"
)

// events: the issuer itself says that sessions are over.
func (s *story) events(ctx context.Context) error {
	form := url.Values{"user": {"bob"}, "login_age": {"1h"}, "lifetime": {"1h"}}
	first, err := s.world.login(ctx, "/token", form)
	if err != nil {
		return err
	}
	second, err := s.world.login(ctx, "/token", form)
	if err != nil {
		return err
	}
	for _, token := range []string{first.Access, second.Access} {
		if _, err := s.expect(ctx, request{by: s.stranger, token: token, path: "/orders"}, http.StatusOK, "ok"); err != nil {
			return err
		}
	}
	logout, err := s.idp.LogoutToken(webClient, first.SID)
	if err != nil {
		return err
	}
	s.say("   bob logs out at the issuer, which tells its clients (back-channel logout)")
	if err := s.tell(ctx, "/events/logout", "application/x-www-form-urlencoded", url.Values{"logout_token": {logout}}.Encode(), http.StatusOK); err != nil {
		return err
	}
	if _, err := s.expect(ctx, request{by: s.stranger, token: first.Access, path: "/orders"}, http.StatusUnauthorized, "session_revoked"); err != nil {
		return err
	}
	if _, err := s.expect(ctx, request{by: s.stranger, token: second.Access, path: "/orders"}, http.StatusOK, "ok"); err != nil {
		return err
	}
	set, err := s.idp.SessionRevoked(edge, "bob")
	if err != nil {
		return err
	}
	s.say("   and ends all that is bob's (CAEP session-revoked)")
	if err := s.tell(ctx, "/events/set", "application/secevent+jwt", set, http.StatusAccepted); err != nil {
		return err
	}
	_, err = s.expect(ctx, request{by: s.stranger, token: second.Access, path: "/orders"}, http.StatusUnauthorized, "subject_revoked")
	return err
}

// tell posts to the listener for events, which answers when the event is on
// disk.
func (s *story) tell(ctx context.Context, path, kind, body string, status int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.holdfast.Events+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", kind)
	start := time.Now()
	res, err := s.stranger.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	took := time.Since(start)
	if err != nil || res.StatusCode != status {
		return fmt.Errorf("POST %s: %s %s (%w)", path, res.Status, answer, err)
	}
	s.say("   %-44s -> %d %-20s %5.1f ms", "POST "+path+", by the issuer", res.StatusCode, "", ms(took))
	return nil
}
