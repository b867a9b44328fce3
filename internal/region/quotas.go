package region

import (
	"cmp"
)

// Quotas by their codes at Service Quotas, which are the same in every region.
const (
	quotaImages           = "L-B665C33B"
	quotaPublicImages     = "L-0E3CBAB9"
	quotaShareTargets     = "L-70015FFA"
	quotaSnapshots        = "L-309BACF6"
	quotaPendingSnapshots = "L-94D7AB7D"
)

// quotaInfo is what Service Quotas says of a quota.
type quotaInfo struct {
	service, name string
	value         float64 // of a new account
	adjustable    bool
}

// quotas are those that this region has, and the rates that it has none of but that clients ask for.
var quotas = map[string]quotaInfo{
	quotaImages:           {"ec2", "AMIs", 50000, true},
	quotaPublicImages:     {"ec2", "Public AMIs", 5, true},
	quotaShareTargets:     {"ec2", "AMI sharing", 1000, true},
	quotaSnapshots:        {"ebs", "Snapshots per Region", 100000, true},
	quotaPendingSnapshots: {"ebs", "Pending snapshots per account", 100, false},
	"L-1D4D9345":          {"ebs", "CompleteSnapshot requests per account", 10, false},
	"L-C125AE42":          {"ebs", "GetSnapshotBlock requests per account", 1000, true},
	"L-028ACFB9":          {"ebs", "GetSnapshotBlock requests per snapshot", 1000, false},
	"L-DB2FBAA1":          {"ebs", "ListChangedBlocks requests per account", 50, false},
	"L-18E976AB":          {"ebs", "ListSnapshotBlocks requests per account", 50, false},
	"L-AFAE1BE8":          {"ebs", "PutSnapshotBlock requests per account", 1000, true},
	"L-1774F84A":          {"ebs", "PutSnapshotBlock requests per snapshot", 1000, false},
	"L-AFEBDF7A":          {"ebs", "StartSnapshot requests per account", 10, false},
}

var quotaServices = map[string]string{"ec2": "Amazon Elastic Compute Cloud (Amazon EC2)", "ebs": "Amazon Elastic Block Store (Amazon EBS)"}

// quota returns the account's value of a quota in the region.
func (a *area) quota(code string) int {
	if v, ok := a.r.opt.Quotas[code]; ok {
		return int(v)
	}
	return int(quotas[code].value)
}

type quotaIn struct {
	ServiceCode string
	QuotaCode   string
	ContextId   string //nolint:revive // as the wire spells it
}

type quotaJSON struct {
	ServiceCode, ServiceName       string
	QuotaArn, QuotaCode, QuotaName string
	Value                          float64
	Unit                           string
	Adjustable, GlobalQuota        bool
	QuotaAppliedAtLevel            string
}

type quotaOut struct{ Quota quotaJSON }

func (a *area) quotaJSON(code string, value float64) quotaJSON {
	q := quotas[code]
	return quotaJSON{ServiceCode: q.service, ServiceName: quotaServices[q.service], QuotaCode: code, QuotaName: q.name, Value: value, Unit: "None",
		QuotaArn: "arn:" + a.partition() + ":servicequotas:" + a.name + ":" + a.r.opt.AccountID + ":" + q.service + "/" + code, Adjustable: q.adjustable,
		QuotaAppliedAtLevel: "ACCOUNT"}
}

func (in *quotaIn) find() error {
	switch q, ok := quotas[in.QuotaCode]; {
	case in.ServiceCode == "" || in.QuotaCode == "":
		return errorf("IllegalArgumentException", "ServiceCode and QuotaCode are required")
	case !ok || q.service != in.ServiceCode || in.ContextId != "":
		return errorf("NoSuchResourceException", "The request failed because the specified service quota does not exist.")
	}
	return nil
}

func (a *area) getServiceQuota(in *quotaIn) (any, error) {
	if err := in.find(); err != nil {
		return nil, err
	}
	return quotaOut{a.quotaJSON(in.QuotaCode, float64(a.quota(in.QuotaCode)))}, nil
}

func (a *area) getDefaultQuota(in *quotaIn) (any, error) {
	if err := in.find(); err != nil {
		return nil, err
	}
	return quotaOut{a.quotaJSON(in.QuotaCode, quotas[in.QuotaCode].value)}, nil
}

type listQuotasIn struct {
	ServiceCode string
	QuotaCode   string
	NextToken   string
	MaxResults  *int32
}

type listQuotasOut struct {
	Quotas    []quotaJSON
	NextToken string `json:",omitempty"`
}

func (a *area) listServiceQuotas(in *listQuotasIn) (any, error) {
	if in.ServiceCode == "" {
		return nil, errorf("IllegalArgumentException", "ServiceCode is required")
	}
	if quotaServices[in.ServiceCode] == "" {
		return nil, errorf("NoSuchResourceException", "The request failed because the specified service does not exist.")
	}
	all := []quotaJSON{}
	for code := range quotas {
		if quotas[code].service == in.ServiceCode && cmp.Or(in.QuotaCode, code) == code {
			all = append(all, a.quotaJSON(code, float64(a.quota(code))))
		}
	}
	out := listQuotasOut{}
	var err error
	out.Quotas, out.NextToken, err = jsonPage(a.r, "ListServiceQuotas", in.MaxResults, in.NextToken, 100, "InvalidPaginationTokenException", all,
		func(q quotaJSON) string { return q.QuotaCode })
	return out, err
}
