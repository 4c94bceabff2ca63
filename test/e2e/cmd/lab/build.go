package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kubeovn/kube-ovn-ccm/test/e2e/assets"
)

// newBuildCommand returns the command that makes everything a cluster needs
// without starting one.
func newBuildCommand() *cobra.Command {
	withConformance := false
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build everything that a cluster consists of, as far as it is not there yet",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			root, err := assets.FindRepoRoot()
			if err != nil {
				return err
			}
			opts := assets.Options{RepoRoot: root, Progress: cmd.ErrOrStderr()}
			set, err := assets.Ensure(cmd.Context(), opts)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "programs      %s\nCNI plugins   %s\ndefinitions   %s\nDebian 13     %s\n", set.Bin, set.CNI, set.CRDs, set.Trixie)
			for _, img := range set.Images {
				fmt.Fprintf(out, "image         %s %s\n", img.Ref, img.Tar)
			}
			if withConformance {
				c, err := assets.EnsureConformance(cmd.Context(), opts)
				if err != nil {
					return err
				}
				fmt.Fprintf(out, "tests         %s\n", c.Suite)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&withConformance, "conformance", false, "Kubernetes' own tests, too, which `lab conformance` runs")
	return cmd
}

// newImagesCommand returns the command that writes the images to push.
func newImagesCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "images",
		Short: "Write the images of kube-ovn-ccm and of its gateway as OCI archives",
		Long: `Write the images of kube-ovn-ccm and of its gateway as OCI archives, with
compressed layers, for "skopeo copy oci-archive:...", "crane push", "docker
load" or "ctr images import".`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			root, err := assets.FindRepoRoot()
			if err != nil {
				return err
			}
			images, err := assets.Release(cmd.Context(), assets.Options{RepoRoot: root, Progress: cmd.ErrOrStderr()}, output)
			if err != nil {
				return err
			}
			for _, img := range images {
				fmt.Fprintf(cmd.OutOrStdout(), "%s %s %s\n", img.Tar, img.Ref, img.Digest)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "bin/images", "the directory that the archives go to")
	return cmd
}
