package cli

import (
	"errors"
	"path/filepath"

	"github.com/spf13/cobra"

	"ingot/internal/pipeline"
)

func (a *app) regionVerb() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "region",
		Short: "Serve the local region to any EC2 client",
		Long: `Serve the local region until Ctrl-C: EC2, EBS direct and S3 on this machine, over their real wire protocols, so
that the AWS CLI and SDKs work against it. RunInstances boots AMIs in QEMU. It refuses what AWS refuses. What
it keeps survives a restart; instances end with it.

It prints the environment that clients need. Every region name goes to the same address.`,
		Args: args(0, 0, "no arguments"),
	}
	listen := cmd.Flags().String("listen", "127.0.0.1:4566", "loopback `ADDRESS` to listen on")
	faults := cmd.Flags().String("faults", "", "YAML `FILE` with rules of what goes wrong; read again when it changes (see docs/local-region.md)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := a.stateDir()
		if err != nil {
			return err
		}
		e, serve, stop, err := pipeline.ListenRegion(cmd.Context(), filepath.Join(dir, "region"), *listen, *faults, Clock.Now)
		if err != nil {
			return err
		}
		err = a.say(e, "export AWS_ENDPOINT_URL=%s\nexport AWS_ACCESS_KEY_ID=%s\nexport AWS_SECRET_ACCESS_KEY=%s\nexport AWS_DEFAULT_REGION=us-east-1\n"+
			"# older AWS CLIs want --endpoint-url %s\n# bundles for it want --ec2-cert %s", e.URL, e.AccessKey, e.SecretKey, e.URL, e.EC2Cert)
		if err == nil {
			err = serve(cmd.Context())
		}
		return errors.Join(err, stop())
	}
	return cmd
}
