package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-authz/holdfast/cache"
)

// revokeFlags are the flags of revoke.
type revokeFlags struct {
	issuer, ttl, notBefore, reason, key string
	wait                                time.Duration
	force                               bool
}

func newRevokeCommand() *cobra.Command {
	var c client
	var f revokeFlags
	cmd := &cobra.Command{
		Use:   "revoke KIND VALUE",
		Short: "withdraw a token, a session, a subject, ...: durable when it returns",
		Long: `Withdraws what KIND and VALUE name. When the command returns 0 the revocation is
stored durably; with --wait every replica enforces it, too.

  token         VALUE is a jti            session      a sid
  subject       a sub                     client       a client_id
  tenant        a tenant                  device       a device
  signing_key   a kid                     issuer       an issuer's URL (no --issuer)
  binding_key   a jkt or x5t#S256         token_hash   base64url SHA-256 of header.payload

subject, client, tenant and issuer deny logins up to --not-before: a new login helps.
Never paste a token here: command lines are seen by others.

Exit codes: 0 done, 1 refused, no answer, or lifted since (--idempotency-key),
2 usage, 6 stored, but not every replica has applied it within --wait: it names
them. A replica that was not heard for ten seconds is not waited for.`,
		Example: `  holdfast revoke session 0a1b2c --issuer https://idp.example --wait 2s
  holdfast revoke subject alice --issuer https://idp.example --reason "phone lost"
  holdfast revoke issuer https://idp.example`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(args[0]); err != nil {
				return &exitError{exitUsage, err}
			}
			return revoke(cmd, &c, &f, args[0], args[1])
		},
	}
	c.addTo(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.issuer, "issuer", "", "issuer inside which the value is unique")
	flags.StringVar(&f.ttl, "ttl", "", "how long it holds, such as 12h (default feed.retention)")
	flags.StringVar(&f.notBefore, "not-before", "", "logins up to this time are denied, RFC 3339 (default now)")
	flags.StringVar(&f.reason, "reason", "", "why, for those who read the log later")
	flags.StringVar(&f.key, "idempotency-key", "", "repeating the command with the same key revokes once")
	flags.DurationVar(&f.wait, "wait", 0, "wait until every replica has applied it")
	flags.BoolVar(&f.force, "force", false, "take a --ttl that tokens may outlive")
	return cmd
}

// check refuses what no server would take.
func (f *revokeFlags) check(word string) error {
	kind, err := cache.ParseKind(word)
	if err != nil {
		return err
	}
	if kind.InIssuer() && f.issuer == "" {
		return fmt.Errorf("a %s is only unique inside one issuer: add --issuer", kind)
	}
	if f.notBefore != "" {
		if _, err := time.Parse(time.RFC3339, f.notBefore); err != nil {
			return fmt.Errorf("--not-before %q is not a time such as 2026-01-02T15:04:05Z", f.notBefore)
		}
	}
	if f.ttl != "" {
		if d, err := time.ParseDuration(f.ttl); err != nil || d <= 0 {
			return fmt.Errorf("--ttl %q is not a duration above 0, such as 12h", f.ttl)
		}
	}
	return nil
}

// revocation is one as the API gives it.
type revocation struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind"`
	Value     string    `json:"value"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	Expires   time.Time `json:"expires"`
	Reason    string    `json:"reason"`

	Replicas int      `json:"replicas"`
	Applied  int      `json:"applied"`
	TookMS   int64    `json:"took_ms"`
	Behind   []string `json:"behind"`

	Created  time.Time  `json:"created"`
	Actor    string     `json:"actor"`
	Lifted   *time.Time `json:"lifted"`
	Expired  bool       `json:"expired"`
	Enforced struct {
		Count       uint64
		First, Last *time.Time
	} `json:"enforced"`
}

func revoke(cmd *cobra.Command, c *client, f *revokeFlags, kind, value string) error {
	body := map[string]string{"kind": kind, "value": value}
	for name, text := range map[string]string{"issuer": f.issuer, "ttl": f.ttl, "not_before": f.notBefore, "reason": f.reason} {
		if text != "" {
			body[name] = text
		}
	}
	send := &call{method: http.MethodPost, path: "/v1/revocations", query: url.Values{}, body: body, header: http.Header{}, wait: f.wait}
	if f.wait < 0 {
		return &exitError{exitUsage, fmt.Errorf("--wait %v is below 0", f.wait)}
	}
	if f.wait > 0 {
		send.query.Set("wait", f.wait.String())
	}
	if f.force {
		send.query.Set("force", "true")
	}
	if f.key != "" {
		send.header.Set("Idempotency-Key", f.key)
	}
	got, err := c.do(cmd.Context(), send)
	if err != nil {
		return err
	}
	var r revocation
	if err := got.into(&r); err != nil {
		return err
	}
	err = c.print(cmd.OutOrStdout(), got, func(w io.Writer) error {
		_, err := fmt.Fprint(w, printable(r.ID))
		if f.wait > 0 && err == nil {
			_, err = fmt.Fprintf(w, " enforced by %d of %d replicas after %d ms", r.Applied, r.Replicas, r.TookMS)
		}
		_, _ = fmt.Fprintln(w)
		return err
	})
	switch {
	case err != nil:
		return err
	case r.Lifted != nil:
		return fmt.Errorf("%s was revoked with this key before, and lifted %s: it is not in force\nto revoke it again use another --idempotency-key",
			printable(r.ID), r.Lifted.Format(time.RFC3339))
	case r.Expired:
		return fmt.Errorf("%s was revoked with this key before, and has ended: it is not in force\nto revoke it again use another --idempotency-key", printable(r.ID))
	case f.wait > 0 && r.Applied < r.Replicas:
		return &exitError{exitNotEnforced, fmt.Errorf("%s is stored, but %d of %d replicas have not applied it within %v: %s\n"+
			"they will when they hear of it; until then they go by on_feed_stale", printable(r.ID), r.Replicas-r.Applied, r.Replicas, f.wait, printable(joined(r.Behind)))}
	}
	return nil
}

func newUnrevokeCommand() *cobra.Command {
	var c client
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "unrevoke ID",
		Short: "lift a revocation before its end",
		Long: `Lifts the revocation with the id that revoke printed. Others that hit the same
session stay in force. Lifting one that has ended already is no error.
Exit code 6: lifted, but not every replica has applied it within --wait.`,
		Example: `  holdfast unrevoke r12-0`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			send := &call{method: http.MethodDelete, path: "/v1/revocations/" + args[0], wait: wait}
			if !plainID(args[0]) {
				return &exitError{exitUsage, fmt.Errorf("%q is not the id of a revocation, such as r12-0", printable(args[0]))}
			}
			if wait > 0 {
				send.query = url.Values{"wait": {wait.String()}}
			}
			got, err := c.do(cmd.Context(), send)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), "lifted", args[0]); err != nil {
				return err
			}
			replicas, applied := got.header.Get("Holdfast-Replicas"), got.header.Get("Holdfast-Applied")
			if wait > 0 && replicas != applied {
				return &exitError{exitNotEnforced, fmt.Errorf("of %s replicas %s have applied that within %v\nthe others will when they hear of it; until then they still deny",
					printable(replicas), printable(applied), wait)}
			}
			return nil
		},
	}
	c.addTo(cmd)
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait until every replica has applied it")
	return cmd
}

// plainID keeps out of the path what would make another path of it.
func plainID(id string) bool {
	for _, r := range id {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return false
		}
	}
	return id != ""
}
