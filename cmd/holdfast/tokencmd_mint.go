package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/examples/issuer"
)

// mintFlags are the flags of token mint.
type mintFlags struct {
	claims           issuer.Claims
	scopes, more     []string
	tenant, device   string
	authTime, issued string
	lifetime         time.Duration
	typ, alg         string
	key, jwks        string
	dpopKey, cert    string
}

// claimOf gives the claim that a flag sets.
var claimOf = map[string]string{
	"issuer": "iss", "audience": "aud", "subject": "sub", "client": "client_id", "scope": "scope",
	"session": "sid", "tenant": "tenant", "device": "device_id", "acr": "acr", "auth-time": "auth_time",
	"iat": "iat", "lifetime": "exp", "dpop-key": "cnf", "cert": "cnf",
}

func newTokenMintCommand() *cobra.Command {
	var f mintFlags
	cmd := &cobra.Command{
		Use:   "mint",
		Short: "make a signed access token by a key of your own, for development",
		Long: `Makes an access token (RFC 9068) and prints it, and nothing else, on standard
output. Holdfast takes it where its configuration names --issuer, --audience, and
in jwks_file the key set that --jwks writes; the defaults are those of config init.
Never let a server that others use name such a key set.

The key of --key is made when it is not there (mode 0600; standard error says so).
Without --key one is made for this token alone. --jwks replaces the set in FILE.
An empty value, such as --session "", leaves the claim out. --claim sets any claim,
to a JSON value or else to a text, and replaces a default. A token that --dpop-key
binds goes with the scheme DPoP and a proof: see holdfast dpop proof.

A --subject that is a SPIFFE ID makes a JWT-SVID, and the set of --jwks a bundle for
the issuer with that trust_domain.`,
		Example: `  # A key, its public half for holdfast, and a token:
  holdfast token mint --key issuer.pem --jwks jwks.json > token
  holdfast config init | sed 's|jwks_uri: .*|jwks_file: jwks.json|' > holdfast.yaml
  holdfast serve -c holdfast.yaml

  # Through your Envoy:
  curl -H "Authorization: Bearer $(cat token)" http://127.0.0.1:8080/

  # Logged in two hours ago, with a second factor; expired; bound to a key, to a certificate:
  holdfast token mint --key issuer.pem --auth-time -2h --acr aal2 --scope payments
  holdfast token mint --key issuer.pem --iat -1h --lifetime 5m
  holdfast token mint --key issuer.pem --dpop-key client.pem
  holdfast token mint --key issuer.pem --client batch --cert client.crt --claim 'groups=["ops"]'
  holdfast token mint --key spire.pem --jwks bundle.json --subject spiffe://prod.example/reports`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := f.mint(cmd, time.Now())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.key, "key", "", "sign with "+keyUse)
	flags.StringVar(&f.jwks, "jwks", "", "write the public key set into `FILE`, for jwks_file")
	flags.StringVar(&f.alg, "alg", "", algUse)
	flags.StringVar(&f.claims.Issuer, "issuer", "https://idp.example", "iss")
	flags.StringArrayVar(&f.claims.Audience, "audience", []string{"https://api.example"}, "aud; may be repeated")
	flags.StringVar(&f.claims.Subject, "subject", "alice", "sub")
	flags.StringVar(&f.claims.Client, "client", "web", "client_id")
	flags.StringVar(&f.claims.Session, "session", "", "sid (default a new one)")
	flags.StringArrayVar(&f.scopes, "scope", nil, "scope, one or more with spaces; may be repeated")
	flags.StringVar(&f.claims.ACR, "acr", "", "acr, how the user proved who they are, such as aal2")
	flags.StringVar(&f.authTime, "auth-time", "", "auth_time: RFC 3339, or from now, such as -2h (default iat)")
	flags.StringVar(&f.issued, "iat", "", "iat: RFC 3339, or from now, such as -10m (default now)")
	flags.DurationVar(&f.lifetime, "lifetime", 5*time.Minute, "exp - iat")
	flags.StringVar(&f.tenant, "tenant", "", "tenant")
	flags.StringVar(&f.device, "device", "", "device_id")
	flags.StringArrayVar(&f.more, "claim", nil, "any claim, `NAME=VALUE`; may be repeated")
	flags.StringVar(&f.typ, "type", issuer.DefaultType, "typ of the header")
	flags.StringVar(&f.dpopKey, "dpop-key", "", "cnf.jkt: bind the token to "+keyUse)
	flags.StringVar(&f.cert, "cert", "", "cnf.x5t#S256: bind the token to the client certificate in `FILE`")
	return cmd
}

// mint settles everything that can be wrong before it makes or writes a file.
func (f *mintFlags) mint(cmd *cobra.Command, now time.Time) (string, error) {
	if err := f.fill(cmd, now); err != nil {
		return "", &exitError{exitUsage, err}
	}
	alg, err := checkAlg(f.alg)
	if err != nil {
		return "", err
	}
	if f.svid() {
		f.plainSVID(cmd)
	}
	c := &f.claims
	if f.cert != "" {
		if c.X5T, err = readThumbprint(f.cert); err != nil {
			return "", err
		}
	}
	var key *issuer.Key
	if f.key == "" {
		key, err = issuer.NewKey(alg)
	} else {
		key, err = loadKey(f.key, alg, cmd.ErrOrStderr())
	}
	if err != nil {
		return "", err
	}
	if f.dpopKey != "" {
		client, err := loadKey(f.dpopKey, "", cmd.ErrOrStderr())
		if err != nil {
			return "", err
		}
		c.JKT = client.ID
	}
	token, err := key.Token(f.typ, c)
	if err != nil {
		return "", fmt.Errorf("sign the token: %w", err)
	}
	if f.svid() {
		key.Use = "jwt-svid"
	}
	if f.jwks != "" {
		return token, writeJWKS(f.jwks, key)
	}
	return token, nil
}

func (f *mintFlags) svid() bool { return strings.HasPrefix(f.claims.Subject, "spiffe://") }

// plainSVID leaves out what no JWT-SVID has (JWT-SVID, 3) unless it was asked for.
func (f *mintFlags) plainSVID(cmd *cobra.Command) {
	c, given := &f.claims, cmd.Flags().Changed
	for flag, value := range map[string]*string{"issuer": &c.Issuer, "client": &c.Client, "session": &c.Session} {
		if !given(flag) {
			*value = ""
		}
	}
	if !given("auth-time") {
		c.Auth = time.Time{}
	}
	if !given("type") {
		f.typ = "JWT"
	}
	c.JTI = ""
}

// fill makes claims of the flags.
func (f *mintFlags) fill(cmd *cobra.Command, now time.Time) (err error) {
	c := &f.claims
	if f.lifetime <= 0 {
		return fmt.Errorf("--lifetime %v is not above 0: an expired token is --iat -1h --lifetime 5m", f.lifetime)
	}
	given := cmd.Flags().Changed
	issued := now
	if f.issued != "" {
		if issued, err = parseWhen("iat", f.issued, now); err != nil {
			return err
		}
	}
	if c.Expires = issued.Add(f.lifetime); f.issued != "" || !given("iat") {
		c.Issued = issued
	}
	switch {
	case f.authTime != "":
		if c.Auth, err = parseWhen("auth-time", f.authTime, now); err != nil {
			return err
		}
	case !given("auth-time"):
		c.Auth = issued
	}
	for name, at := range map[string]time.Time{"iat": c.Issued, "lifetime": c.Expires, "auth-time": c.Auth} {
		if !at.IsZero() && (at.Unix() < 0 || at.Unix() > jose.MaxDate) {
			return fmt.Errorf("--%s leads out of the years 1970 to 9999", name)
		}
	}
	c.Audience = slices.DeleteFunc(c.Audience, func(one string) bool { return one == "" })
	c.Scope = strings.Join(strings.Fields(strings.Join(f.scopes, " ")), " ")
	c.JTI = rand.Text()
	if !given("session") {
		c.Session = rand.Text()
	}
	c.More = map[string]any{}
	for name, value := range map[string]string{"tenant": f.tenant, "device_id": f.device} {
		if value != "" {
			c.More[name] = value
		}
	}
	return f.addClaims(cmd)
}

// addClaims reads the values of --claim.
func (f *mintFlags) addClaims(cmd *cobra.Command) error {
	seen := map[string]string{}
	for flag, claim := range claimOf {
		if cmd.Flags().Changed(flag) {
			seen[claim] = "--" + flag
		}
	}
	for _, text := range f.more {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return fmt.Errorf("--claim %q is not NAME=VALUE, such as tier=gold or 'groups=[\"ops\"]'", text)
		}
		if by, twice := seen[name]; twice {
			return fmt.Errorf("--claim %s: the claim is set by %s already, use one of the two", printable(name), by)
		}
		seen[name] = "another --claim"
		f.claims.More[name] = claimValue(value)
	}
	return nil
}

// claimValue is a JSON value where the text is one, of the strict kind that
// Holdfast itself reads, else the text.
func claimValue(text string) any {
	obj, err := jose.ParseObject([]byte(`{"":` + text + `}`))
	if err != nil || len(obj.Members()) != 1 {
		return text
	}
	return json.RawMessage(obj.Members()[0].Value.Raw())
}
