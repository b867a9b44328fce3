// Checks a template against AWS's list of types of resources: each type is known, each property is one of it, each required one is
// there. Exits with 1 and a line for each that is not so.
const { loadAwsServiceSpecSync } = require(process.env.MODULES + '/@aws-cdk/aws-service-spec');
const db = loadAwsServiceSpecSync();
const template = JSON.parse(require('fs').readFileSync(process.argv[2], 'utf8'));
const wrong = [];
for (const [name, r] of Object.entries(template.Resources)) {
  const [type] = db.lookup('resource', 'cloudFormationType', 'equals', r.Type);
  if (!type) {
    wrong.push(`${name}: there is no ${r.Type}`);
    continue;
  }
  for (const p of Object.keys(r.Properties || {})) {
    if (!type.properties[p]) wrong.push(`${name}: ${r.Type} has no property ${p}`);
  }
  for (const [p, spec] of Object.entries(type.properties)) {
    if (spec.required && !(p in (r.Properties || {}))) wrong.push(`${name}: ${r.Type} needs ${p}`);
  }
}
console.log(wrong.join('\n'));
process.exitCode = wrong.length || Object.keys(template.Resources).length === 0 ? 1 : 0;
