package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/cmd/internal/config/strict"
)

const notVerified = "nothing here is verified: anyone can write what stands in a token"

func newTokenInspectCommand() *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use:   "inspect [TOKEN | @FILE | -]",
		Short: "show what stands in a token; it verifies nothing",
		Long: `Shows header, claims and times of a token, the keys it is bound to, and the value
for holdfast revoke token_hash. It verifies nothing: no signature, issuer, audience,
expiry or revocation. Whether a server accepts a token, only the server knows.

Without an argument it reads standard input; the value of an Authorization header
(Bearer TOKEN) will do as well. A credential that is no JWT has its hashes shown.
Avoid TOKEN as an argument for real tokens: command lines are seen by others.

Exits 1 for a token whose form Holdfast refuses, after what can be read of it.`,
		Example: `  holdfast token mint | holdfast token inspect
  holdfast token inspect @token -o json | jq -r .claims.sub
  holdfast revoke token_hash "$(holdfast token inspect @token -o json | jq -r .token_hash)"`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.checkOutput(); err != nil {
				return err
			}
			raw, scheme, err := readToken(cmd, append(args, "-")[0])
			if err != nil {
				return err
			}
			seen, err := inspect(raw, time.Now())
			if err != nil {
				return err
			}
			seen.Scheme = scheme
			fmt.Fprintln(cmd.ErrOrStderr(), "holdfast: "+notVerified)
			doc, err := json.Marshal(seen)
			if err != nil {
				return fmt.Errorf("write what was read: %w", err)
			}
			if err := c.print(cmd.OutOrStdout(), &answer{body: doc}, seen.table); err != nil {
				return err
			}
			if seen.Problem != "" {
				return errors.New("no holdfast takes a token of this form: " + seen.Problem)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&c.output, "output", "o", "table", "table, json or yaml")
	return cmd
}

// inspection is what can be read of a credential without believing it.
type inspection struct {
	Verified  bool            `json:"verified"` // never
	Notice    string          `json:"notice"`
	Kind      string          `json:"kind"`
	Problem   string          `json:"problem,omitempty"` // why the strict reader refuses it
	Scheme    string          `json:"scheme,omitempty"`  // that it came with
	Type      *string         `json:"typ,omitempty"`
	Header    json.RawMessage `json:"header,omitempty"`
	Claims    json.RawMessage `json:"claims,omitempty"`
	Times     []claimTime     `json:"times,omitempty"`
	Bindings  []binding       `json:"bindings,omitempty"`
	KeyHash   string          `json:"jwk_thumbprint,omitempty"` // of a DPoP proof's own key: what cnf.jkt of its token says
	TokenHash string          `json:"token_hash"`               // for holdfast revoke token_hash
	SHA256    string          `json:"sha256,omitempty"`         // of an opaque credential, as keys.yaml has it

	header, claims *jose.Object // where the strict reader understood them
}

// claimTime is a claim that is a time.
type claimTime struct {
	Claim string    `json:"claim"`
	Time  time.Time `json:"time"`
	When  string    `json:"when"`
}

// binding is a member of cnf.
type binding struct {
	Method string `json:"method"` // jkt (DPoP) or x5t#S256 (mTLS)
	Value  string `json:"value"`
}

// inspect reads a credential. It fails where nothing of it can be shown.
func inspect(raw string, now time.Time) (*inspection, error) {
	seen := &inspection{Notice: notVerified, Kind: "jwt"}
	t, err := jose.Parse(raw)
	switch {
	case t != nil:
		seen.header, seen.claims = t.Header, t.Claims
		if t.HasType {
			seen.Type = &t.Type
		}
		parts := strings.SplitN(raw, ".", 3)
		seen.Header, seen.Claims = lenient(parts[0]), lenient(parts[1]) // as they stand
		seen.TokenHash = hashOf(t.SigningInput)
		seen.read(now)
	case !seen.readDamaged(raw) && strings.Count(raw, ".") == 2:
		return nil, fmt.Errorf("this has the three parts of a JWT and can not be read as one: %w\n"+
			"is it complete, and copied without line breaks?", err)
	case seen.Header == nil:
		seen.Kind = "opaque" // only its issuer, or a file of API keys, knows what it means
		sum := sha256.Sum256([]byte(raw))
		seen.SHA256 = hex.EncodeToString(sum[:])
		seen.TokenHash = hashOf(raw)
		return seen, nil
	}
	if err != nil {
		seen.Problem = err.Error()
	}
	return seen, nil
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// readDamaged takes from a text that is no strict JWS whatever a lenient
// reader, such as an application behind the edge, might see in it.
func (s *inspection) readDamaged(raw string) bool {
	parts := strings.SplitN(raw, ".", 4)
	if s.Header = lenient(parts[0]); s.Header == nil {
		return false
	}
	s.Kind = "damaged jwt"
	if len(parts) == 4 {
		s.Kind = "jwe" // its payload is encrypted
	} else if len(parts) > 1 {
		s.Claims = lenient(parts[1])
	}
	if end := strings.LastIndexByte(raw, '.'); len(parts) == 3 {
		s.TokenHash = hashOf(raw[:end])
	}
	return true
}

// lenient decodes a JSON object in base64 of either alphabet, padded or not.
func lenient(part string) json.RawMessage {
	plain := strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(part, "="))
	doc, err := base64.RawURLEncoding.DecodeString(plain)
	if err != nil || !json.Valid(doc) || !strings.HasPrefix(strings.TrimSpace(string(doc)), "{") {
		return nil
	}
	return doc
}

// dated are the claims that are NumericDates.
var dated = []string{"iat", "nbf", "exp", "auth_time"}

// read picks out times, bindings and the thumbprint of a proof's key.
func (s *inspection) read(now time.Time) {
	for _, name := range dated {
		v, _ := s.claims.Get(name)
		if at, ok := v.NumericDate(); ok {
			s.Times = append(s.Times, claimTime{name, at, ago(now.Sub(at))})
		}
	}
	jwk, _ := s.header.Get("jwk")
	if obj, ok := jwk.Object(); ok {
		if key, err := jose.ParseKey(obj); err == nil {
			s.KeyHash = jose.Thumbprint(key.Public)
		}
	}
	cnf, _ := s.claims.Get("cnf")
	obj, ok := cnf.Object()
	if !ok {
		return
	}
	for _, m := range obj.Members() {
		value, isText := m.Value.Text()
		if !isText {
			value = m.Value.Raw()
		}
		s.Bindings = append(s.Bindings, binding{m.Name, value})
	}
}

func ago(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d > 0:
		return strict.Short(d) + " ago"
	case d < 0:
		return "in " + strict.Short(-d)
	}
	return "now"
}

func (s *inspection) table(w io.Writer) error {
	_, _ = fmt.Fprintln(w, "NOT VERIFIED: anyone can write what stands in a token")
	row := func(name, value string) { _, _ = fmt.Fprintf(w, "%s\t%s\n", name, value) }
	row("kind", s.Kind)
	if s.Problem != "" {
		row("problem", printable(s.Problem))
	}
	if s.Scheme != "" {
		row("scheme", printable(s.Scheme))
	}
	s.part(w, "header", s.header, s.Header)
	s.part(w, "claims", s.claims, s.Claims)
	for _, b := range s.Bindings {
		name := map[string]string{"jkt": "DPoP key", "x5t#S256": "client certificate"}[b.Method]
		row("bound to", printable(b.Method)+" "+printable(b.Value)+" "+cmp.Or(name, "a method that Holdfast does not know"))
	}
	if s.KeyHash != "" {
		row("jwk thumbprint", s.KeyHash)
	}
	if s.SHA256 != "" {
		row("sha256", s.SHA256)
	}
	row("token_hash", dash(s.TokenHash))
	return nil
}

// part shows header or claims, a member a line, times in words too.
func (s *inspection) part(w io.Writer, title string, obj *jose.Object, text json.RawMessage) {
	if text == nil {
		return
	}
	if obj == nil { // not even UTF-8, perhaps
		_, _ = fmt.Fprintf(w, "%s\t%s\n", title, printable(strings.ToValidUTF8(string(text), "\ufffd")))
		return
	}
	_, _ = fmt.Fprintf(w, "%s\n", title)
	for _, m := range obj.Members() {
		value, isText := m.Value.Text()
		if !isText {
			value = m.Value.Raw()
		}
		value = printable(value)
		for _, at := range s.Times {
			if title == "claims" && at.Claim == m.Name {
				value += "  " + at.Time.Format(time.RFC3339) + ", " + at.When
			}
		}
		_, _ = fmt.Fprintf(w, "  %s\t%s\n", printable(m.Name), value)
	}
}
