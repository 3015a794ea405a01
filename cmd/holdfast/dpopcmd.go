package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-authz/holdfast/examples/issuer"
)

func newDPoPCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "dpop",
		Short:   "make DPoP proofs, for development",
		Long:    `A token that is bound to a key (cnf.jkt) needs a proof by that key with every request (RFC 9449).`,
		Example: `  holdfast dpop proof --key client.pem --url https://api.example/ --token @token`,
		Args:    cobra.NoArgs,
	}
	cmd.AddCommand(newDPoPProofCommand())
	return cmd
}

// proofFlags are the flags of dpop proof.
type proofFlags struct {
	proof                   issuer.Proof
	key, token, issued, alg string
}

func newDPoPProofCommand() *cobra.Command {
	var f proofFlags
	cmd := &cobra.Command{
		Use:   "proof --key FILE --url URL [--method METHOD] [--token @FILE]",
		Short: "make a proof for one request by a key of your own, for development",
		Long: `Makes a DPoP proof (RFC 9449) for one request and prints it, and nothing else, on
standard output. A proof holds for this method and URL, with this token, for a
minute (dpop.max_age), and once: make a new one for each request.

The key is the one that token mint --dpop-key has bound the token to; it is made
when it is not there (mode 0600; standard error says so). Query and fragment of
--url are left out, as the RFC wants. A server that answers use_dpop_nonce sends the
nonce for --nonce in its DPoP-Nonce header.`,
		Example: `  holdfast token mint --key issuer.pem --jwks jwks.json --dpop-key client.pem > token
  curl -X POST http://127.0.0.1:8080/orders \
    -H "Authorization: DPoP $(cat token)" \
    -H "DPoP: $(holdfast dpop proof --key client.pem --method POST --url http://127.0.0.1:8080/orders --token @token)"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			proof, err := f.prove(cmd, time.Now())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), proof)
			return err
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.key, "key", "", "sign with "+keyUse)
	flags.StringVar(&f.proof.URL, "url", "", "htu: absolute `URL` of the request")
	flags.StringVar(&f.proof.Method, "method", http.MethodGet, "htm")
	flags.StringVar(&f.token, "token", "", "ath: the token that goes with it, `@FILE`, - or itself")
	flags.StringVar(&f.proof.Nonce, "nonce", "", "nonce that the server gave out")
	flags.StringVar(&f.issued, "iat", "", "iat: RFC 3339, or from now, such as -10m (default now)")
	flags.StringVar(&f.proof.JTI, "jti", "", "jti (default a new one)")
	flags.StringVar(&f.alg, "alg", "", algUse)
	return cmd
}

func (f *proofFlags) prove(cmd *cobra.Command, now time.Time) (string, error) {
	if err := f.check(now); err != nil {
		return "", &exitError{exitUsage, err}
	}
	alg, err := checkAlg(f.alg)
	if err != nil {
		return "", err
	}
	// The token first: in a pipe, token mint may just be making the key.
	if f.token != "" {
		if f.proof.Token, _, err = readToken(cmd, f.token); err != nil {
			return "", err
		}
	}
	key, err := loadKey(f.key, alg, cmd.ErrOrStderr())
	if err != nil {
		return "", err
	}
	return key.Prove(f.proof)
}

func (f *proofFlags) check(now time.Time) (err error) {
	if f.key == "" {
		return errors.New("say which key signs with --key FILE: the one that token mint --dpop-key has bound the token to")
	}
	u, err := url.Parse(f.proof.URL)
	if f.proof.URL == "" || err != nil || u.Scheme == "" || u.Host == "" {
		return fmt.Errorf("--url %q is not the absolute URL of a request, such as https://api.example/orders", f.proof.URL)
	}
	if f.proof.Method == "" {
		return errors.New("--method is empty: it is that of the request, such as GET")
	}
	f.proof.Issued = now
	if f.issued != "" {
		f.proof.Issued, err = parseWhen("iat", f.issued, now)
	}
	return err
}
