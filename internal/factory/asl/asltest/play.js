// Runs state machines in aws-local-stepfunctions: each line of standard input is {definition, input, name, bridge}, each line of
// standard output {name, result} or {name, error, cause}. Tasks are asked for at the bridge: POST {state, resource, input}. What the
// interpreter lacks is added here: Promise.withResolvers of newer versions of Node, and the number of retries in the context.
const http = require('http');
if (!Promise.withResolvers) {
  Promise.withResolvers = () => {
    const p = {};
    p.promise = new Promise((resolve, reject) => Object.assign(p, { resolve, reject }));
    return p;
  };
}
const { StateMachine } = require(process.env.MODULES + '/aws-local-stepfunctions');

function post(bridge, body) {
  return new Promise((resolve, reject) => {
    const rq = http.request(bridge, { method: 'POST' }, (rs) => {
      let text = '';
      rs.setEncoding('utf8');
      rs.on('data', (part) => (text += part));
      rs.on('end', () => resolve(JSON.parse(text)));
    });
    rq.on('error', reject);
    rq.end(JSON.stringify(body));
  });
}

function play(wanted) {
  const handlers = {}, pauses = {}, attempts = {};
  function visit(machine) {
    for (const [name, state] of Object.entries(machine.States)) {
      for (const below of [...(state.Branches || []), ...(state.ItemProcessor ? [state.ItemProcessor] : [])]) visit(below);
      if (state.Type !== 'Task') continue;
      pauses[name] = 20;
      handlers[name] = async (input) => {
        const request = input.Payload || input;
        const key = JSON.stringify([name, request.item]);
        attempts[key] = attempts[key] === undefined ? 0 : attempts[key] + 1;
        request.attempt = attempts[key];
        const answer = await post(wanted.bridge, { state: name, resource: state.Resource, heartbeat: state.HeartbeatSeconds || 0, input });
        if (answer.error) {
          const e = new Error(answer.cause);
          e.name = answer.error;
          throw e;
        }
        return answer.result;
      };
    }
  }
  visit(wanted.definition);
  const context = {
    Execution: { Id: 'arn:of:' + wanted.name, Name: wanted.name, Input: wanted.input },
    StateMachine: { Id: 'arn:of:machine' },
    State: { RetryCount: 0 },
  };
  return new StateMachine(wanted.definition, { validationOptions: { checkArn: true, checkPaths: true } })
    .run(wanted.input, { overrides: { taskResourceLocalHandlers: handlers, retryIntervalOverrides: pauses }, context }).result;
}

require('readline').createInterface({ input: process.stdin }).on('line', async (line) => {
  const wanted = JSON.parse(line);
  const answer = { name: wanted.name };
  try {
    answer.result = await play(wanted);
  } catch (e) {
    const failed = e.cause || e; // what ended the execution is inside of the error that says so
    answer.error = failed.name;
    answer.cause = failed.message;
  }
  console.log(JSON.stringify(answer));
});
