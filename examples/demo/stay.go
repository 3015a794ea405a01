package demo

import (
	"context"
	"fmt"
	"net/url"
	"os"
)

// stay keeps everything up for people to try things, until ctx ends or one of
// the processes does.
func (w *world) stay(ctx context.Context) error {
	token, err := w.login(ctx, "/token", url.Values{"user": {"alice"}, "x5t": {w.alice.x5t}, "lifetime": {"1h"}, "acr": {"aal2"}})
	if err != nil {
		return err
	}
	// The token stands in a file, so that the command is short and no shell's
	// history keeps it.
	if err := os.WriteFile(w.file("token"), []byte("Authorization: Bearer "+token.Access+"\n"), 0o600); err != nil {
		return err
	}
	call := "curl -si --cacert " + w.file("ca.pem") + " --cert " + w.file("alice.pem") + " --key " + w.file("alice.key") +
		" -H @" + w.file("token") + " https://" + w.envoy.Listener + "/orders"
	w.say(`
Everything stays up until Ctrl-C:
  Envoy            https://%s
  Envoy's admin    http://%s
  issuer           %s
  Holdfast's admin %s
  configuration, logs, keys: %s

Call the application as alice:
  %s
End her session, then call again:
  %s revoke session %s --issuer %s --server %s
Log in again (another session):
  curl -s -d user=alice -d x5t=%s %s/token`,
		w.envoy.Listener, w.envoy.Admin, w.issuer, w.holdfast.Admin, w.dir, call,
		w.binary, token.SID, w.issuer, w.holdfast.Admin, w.alice.x5t, w.issuer)
	select {
	case <-ctx.Done():
	case <-w.envoy.Done():
	case <-w.holdfast.done:
	}
	if ctx.Err() == nil { // else both are being ended by us
		return fmt.Errorf("demo: a process ended by itself\n%s", w.logs())
	}
	w.say("\nended; %s is removed", w.dir)
	return nil
}
