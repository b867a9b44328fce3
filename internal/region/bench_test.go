package region

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awsebs "github.com/aws/aws-sdk-go-v2/service/ebs"
	ebstypes "github.com/aws/aws-sdk-go-v2/service/ebs/types"

	"ingot/internal/region/blocks"
)

// BenchmarkPut puts blocks that are all different, with the SDK as the client, in the same process.
func BenchmarkPut(b *testing.B) {
	r, err := Open(b.Context(), Options{Dir: b.TempDir(), Regions: []string{"us-east-1"}})
	if err != nil {
		b.Fatal(err)
	}
	srv := httptest.NewServer(r)
	defer r.Close()
	defer srv.Close()
	c := r.Credentials()
	client := awsebs.NewFromConfig(aws.Config{Region: "us-east-1", BaseEndpoint: &srv.URL,
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, "")})
	s, err := client.StartSnapshot(b.Context(), &awsebs.StartSnapshotInput{VolumeSize: aws.Int64(1024)})
	if err != nil {
		b.Fatal(err)
	}
	var n atomic.Int32
	b.SetBytes(blocks.Size)
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		data := make([]byte, blocks.Size)
		for pb.Next() {
			i := n.Add(1)
			binary.BigEndian.PutUint32(data, uint32(i))
			sum := sha256.Sum256(data)
			_, err := client.PutSnapshotBlock(b.Context(), &awsebs.PutSnapshotBlockInput{SnapshotId: s.SnapshotId, BlockIndex: &i,
				BlockData: bytes.NewReader(data), Checksum: aws.String(base64.StdEncoding.EncodeToString(sum[:])),
				ChecksumAlgorithm: ebstypes.ChecksumAlgorithmChecksumAlgorithmSha256, DataLength: aws.Int32(blocks.Size)})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
